//! The size of the next batch of changes: one call for many changes, or many calls at a time. A plan of five
//! hundred contracts has thousands of changes, and one call after the other takes minutes.

use super::PlanChange;

/// Most topics of one call: the broker creates the partitions of each before the call's time-out.
const TOPICS: usize = 40;
/// Most permissions of one call.
const ACLS: usize = 200;
/// Most calls to the registry in one batch. The caller has several of them under way at a time.
const SUBJECTS: usize = 64;

/// Returns the number of changes at the head of the list that may be carried out together: they are of one
/// kind and do not depend on each other. Returns 0 for an empty list.
///
/// The batches keep the plan's order: raw schemas are never in one batch with the masked schemas that come
/// before them.
pub fn together(changes: &[PlanChange]) -> usize {
    let Some(first) = changes.first() else { return 0 };

    // The first change decides the kind of the batch, and its largest size.
    let (most, alike): (usize, fn(&PlanChange) -> bool) = match first {
        PlanChange::CreateTopic { .. } => (TOPICS, |change| matches!(change, PlanChange::CreateTopic { .. })),
        PlanChange::CreateAcl { .. } => (ACLS, |change| matches!(change, PlanChange::CreateAcl { .. })),
        PlanChange::SetCompatibility { .. } => {
            (SUBJECTS, |change| matches!(change, PlanChange::SetCompatibility { .. }))
        }
        PlanChange::RegisterSchema { raw: true, .. } => {
            (SUBJECTS, |change| matches!(change, PlanChange::RegisterSchema { raw: true, .. }))
        }
        PlanChange::RegisterSchema { raw: false, .. } => {
            (SUBJECTS, |change| matches!(change, PlanChange::RegisterSchema { raw: false, .. }))
        }
        // Changes of existing topics and removals are carried out one by one.
        PlanChange::RaisePartitions { .. }
        | PlanChange::AlterConfig { .. }
        | PlanChange::RemoveAcl { .. } => (1, |_| true),
    };

    // Only a run without gaps is taken, so that the order of the plan is kept.
    changes.iter().take(most).take_while(|change| alike(change)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(raw: bool) -> PlanChange {
        PlanChange::RegisterSchema { subject: "s".into(), schema: "\"int\"".into(), first: true, raw }
    }

    #[test]
    fn raw_schemas_wait_for_the_masked_ones_and_what_alters_goes_alone() {
        let alter = |key: &str| PlanChange::AlterConfig {
            topic: "t".into(),
            key: key.into(),
            from: None,
            to: "1".into(),
        };
        let changes = [alter("a"), alter("b"), register(false), register(false), register(true)];
        let mut sizes = vec![];
        let mut left = &changes[..];
        while !left.is_empty() {
            let count = together(left);
            sizes.push(count);
            left = &left[count..];
        }
        assert_eq!(sizes, [1, 1, 2, 1]);
        assert_eq!(together(&vec![register(true); 1000]), SUBJECTS);
        assert_eq!(together(&[]), 0);
    }
}
