//! The division of a budget: pure, with the same result for every replica.

/// The tokens that one holder could use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BudgetDemand {
    pub(crate) job: String,
    pub(crate) holder: String,
    pub(crate) tokens: u32,
}

/// Divides `total` fairly between jobs, and then fairly between the replicas of each job. No replica gets
/// more than it wants, and the others share the rest (max-min fairness). Tokens that do not divide evenly go
/// round with `turn`.
pub(crate) fn shares(total: u32, wants: &[BudgetDemand], turn: u64) -> Vec<u32> {
    // First level: the demand of each job is the sum of its replicas' demands.
    let mut jobs: Vec<&str> = wants.iter().map(|want| want.job.as_str()).collect();
    jobs.sort_unstable();
    jobs.dedup();
    let of_job = |job: &&str| {
        let wants = wants.iter().filter(|want| want.job == **job);
        wants.map(|want| want.tokens).fold(0, u32::saturating_add)
    };
    let by_job: Vec<u32> = jobs.iter().map(of_job).collect();
    let granted = level(total, &by_job, turn);

    // Second level: each job's share between its replicas.
    let mut shares = vec![0; wants.len()];
    for (job, granted) in jobs.iter().zip(granted) {
        let mut places: Vec<usize> = (0..wants.len()).filter(|&nth| wants[nth].job == *job).collect();
        // Sorted by holder: the order is the same for every replica, whatever order the rows came in.
        places.sort_unstable_by(|&one, &other| wants[one].holder.cmp(&wants[other].holder));
        let tokens: Vec<u32> = places.iter().map(|&nth| wants[nth].tokens).collect();
        for (place, share) in places.into_iter().zip(level(granted, &tokens, turn)) {
            shares[place] = share;
        }
    }
    shares
}

/// Raises all shares together until the total is used up or every demand is met.
fn level(total: u32, wants: &[u32], turn: u64) -> Vec<u32> {
    let mut shares = vec![0; wants.len()];
    let mut left = total;
    loop {
        // Demands that are not met yet.
        let open: Vec<usize> = (0..wants.len()).filter(|&nth| shares[nth] < wants[nth]).collect();
        if open.is_empty() || left == 0 {
            return shares;
        }

        // Less than one token each: single tokens, beginning at another demand with each turn.
        let each = left / open.len() as u32;
        if each == 0 {
            let from = (turn % open.len() as u64) as usize;
            for nth in open.iter().cycle().skip(from).take(left as usize) {
                shares[*nth] += 1;
            }
            return shares;
        }

        // The same for all, but no share beyond its demand. A met demand leaves tokens for the next pass.
        for nth in open {
            let more = each.min(wants[nth] - shares[nth]);
            shares[nth] += more;
            left -= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(job: &str, holder: &str, tokens: u32) -> BudgetDemand {
        BudgetDemand { job: job.into(), holder: holder.into(), tokens }
    }

    #[test]
    fn jobs_share_first_then_their_replicas() {
        let wants = [want("a", "1", 100), want("b", "1", 100), want("b", "2", 100), want("b", "3", 100)];
        assert_eq!(shares(60, &wants, 0), [30, 10, 10, 10]);
    }

    #[test]
    fn what_one_does_not_want_the_others_have() {
        assert_eq!(shares(60, &[want("a", "1", 5), want("a", "2", 100), want("b", "3", 20)], 0), [5, 35, 20]);
        assert_eq!(shares(60, &[want("a", "1", 5), want("a", "2", 6)], 0), [5, 6]);
        assert_eq!(shares(60, &[], 0), [0; 0]);
    }

    #[test]
    fn what_does_not_divide_goes_round() {
        let wants = [want("a", "1", 9), want("a", "2", 9), want("a", "3", 9)];
        let mut all = [0; 3];
        for turn in 0..3 {
            let shares = shares(1, &wants, turn);
            assert_eq!(shares.iter().sum::<u32>(), 1);
            shares.iter().zip(&mut all).for_each(|(share, all)| *all += share);
        }
        assert_eq!(all, [1, 1, 1]);
        assert_eq!(shares(8, &wants, 1).iter().sum::<u32>(), 8);
    }
}
