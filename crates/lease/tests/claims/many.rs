//! Many ids in one statement.

use std::collections::HashMap;
use std::time::Duration;

use sluice_lease::{ClaimCheckpoint, ClaimMark, FenceAnswer, IdClaim};

use crate::bench::{mark, on_both, states, terms};

#[test]
fn many_are_written_at_once_as_fenced_as_one() {
    on_both("many", |bench| async move {
        // More than one statement holds, and no power of two.
        const IDS: usize = 71;
        let claims = bench.ids(IDS).await;
        let taken = claims.claim(IDS as u32, &terms("old")).await.unwrap();
        let entry = |claim: &IdClaim, pages: i64| {
            let next_page = Some(format!("{} {pages}", claim.id));
            ClaimCheckpoint::of(claim, ClaimMark { next_page, tally: mark(pages).tally })
        };
        let entries = |pages: i64| -> Vec<ClaimCheckpoint> {
            // Not in the order of their ids.
            taken.iter().rev().map(|claim| entry(claim, pages)).collect()
        };
        let kept = claims.checkpoint_all(&entries(1)).await.unwrap();
        assert_eq!(kept, vec![FenceAnswer::Kept; IDS]);
        assert!(claims.checkpoint_all(&[]).await.unwrap().is_empty());
        // Three are somebody else's by now.
        let over = [3, 40, 70].map(|nth: usize| taken[nth].id.as_str());
        let passed = format!(
            "UPDATE sluice_claims SET due_at = 1, lease_until = 1 WHERE job = 'many' AND id IN ('{}')",
            over.join("', '")
        );
        bench.run(&passed).await;
        let stolen = claims.claim(10, &terms("new")).await.unwrap();
        assert_eq!(stolen.len(), 3);
        assert!(stolen.iter().all(|claim| claim.next_page == Some(format!("{} 1", claim.id))), "{stolen:?}");
        let expected = |entries: &[ClaimCheckpoint]| -> Vec<FenceAnswer> {
            let fenced = |entry: &ClaimCheckpoint| match over.contains(&entry.id.as_str()) {
                true => FenceAnswer::Lost,
                false => FenceAnswer::Kept,
            };
            entries.iter().map(fenced).collect()
        };
        let second = entries(2);
        assert_eq!(claims.checkpoint_all(&second).await.unwrap(), expected(&second));
        assert_eq!(claims.done_all(&second, None).await.unwrap(), expected(&second));
        assert_eq!(claims.done_all(&second, None).await.unwrap(), expected(&second), "done is done");
        assert_eq!(claims.checkpoint_all(&second).await.unwrap(), vec![FenceAnswer::Lost; IDS]);
        let counts = claims.status().await.unwrap();
        assert_eq!(states(&counts), HashMap::from([("done", 68), ("claimed", 3)]));
        let pages: i64 = counts.iter().map(|count| count.tally.pages).sum();
        assert_eq!(pages, 68 * 2 + 3, "each its own mark, and nothing of a zombie's");
        // Those that were taken over are as their new holder knows them, and round again as their next run.
        let rest: Vec<ClaimCheckpoint> = stolen.iter().map(|claim| entry(claim, 5)).collect();
        let round = claims.done_all(&rest, Some(Duration::ZERO)).await.unwrap();
        assert_eq!(round, [FenceAnswer::Kept; 3]);
        let again = claims.claim(10, &terms("new")).await.unwrap();
        assert!(again.iter().all(|claim| claim.run == 2 && claim.attempt == 1), "{again:?}");
        assert!(again.iter().all(|claim| claim.next_page == Some(format!("{} 5", claim.id))), "{again:?}");
        assert_eq!(again.len(), 3);
    });
}

#[test]
fn whoever_writes_many_waits_for_nobody_in_a_circle() {
    on_both("circle", |bench| async move {
        let claims = bench.ids(60).await;
        let taken = claims.claim(60, &terms("h")).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for nth in 0..4 {
            let (claims, mut taken) = (claims.clone(), taken.clone());
            tasks.spawn(async move {
                for round in 0..10 {
                    taken.rotate_left(7 * nth);
                    let entry = |claim: &IdClaim| ClaimCheckpoint {
                        id: claim.id.clone(),
                        fence: claim.fence,
                        mark: mark(round),
                    };
                    let entries: Vec<ClaimCheckpoint> = taken.iter().take(50).map(entry).collect();
                    let kept = claims.checkpoint_all(&entries).await.unwrap();
                    assert!(kept.iter().all(|kept| *kept == FenceAnswer::Kept));
                    let held: Vec<_> = entries.into_iter().map(|entry| (entry.id, entry.fence)).collect();
                    assert!(claims.heartbeat(&held, Duration::from_secs(60)).await.unwrap().is_empty());
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
}
