//! Which of the next changes go together: one call for many, or many calls at a time. A plan of five hundred contracts
//! has thousands of changes, and a call for each in turn takes minutes.

use super::PlanChange;

/// Topics of one call: each has partitions to be made, and the call a time-out.
const TOPICS: usize = 40;
/// Permissions of one call.
const ACLS: usize = 200;
/// Calls to the registry, of which some are under way at a time.
const SUBJECTS: usize = 64;

/// How many of the first changes may be carried out together: they are of one kind and do not lean on each other. 0 if
/// there are none.
///
/// Order is kept between what is handed out: raw schemas never go with the masked ones that have to be there first.
pub fn together(changes: &[PlanChange]) -> usize {
    let Some(first) = changes.first() else { return 0 };
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
        PlanChange::RaisePartitions { .. }
        | PlanChange::AlterConfig { .. }
        | PlanChange::RemoveAcl { .. } => (1, |_| true),
    };
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
