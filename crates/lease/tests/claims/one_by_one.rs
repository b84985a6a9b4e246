//! Ids from their enrolment to their end.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use sluice_lease::{
    ClaimMark, ClaimReleaseReason, ClaimSource, ClaimTally, FenceAnswer, IdClaim, JobClaims, SideTableState,
    SqlDialect,
};
use sluice_stack::ServerStack;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::bench::{ClaimBench, mark, on_both, states, terms};

#[test]
fn many_claimers_never_hold_the_same_id_and_leave_none() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    on_both("disjoint", |bench| async move {
        const IDS: usize = 600;
        bench.ids(IDS).await;
        let held = Arc::new(Mutex::new(BTreeSet::<String>::new()));
        let finished = Arc::new(Mutex::new(Vec::<String>::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for nth in 0..8 {
            let (bench, held, finished) = (bench.clone(), Arc::clone(&held), Arc::clone(&finished));
            let mut random = StdRng::seed_from_u64(seed ^ nth);
            tasks.spawn(async move {
                let claims = bench.claims().await;
                let terms = terms(&format!("holder-{nth}"));
                loop {
                    let taken = claims.claim(random.random_range(1..40), &terms).await.unwrap();
                    if taken.is_empty() {
                        // SKIP LOCKED passes over rows that are locked just now: look again until none is left.
                        let left = claims.outstanding(None, Duration::ZERO).await.unwrap();
                        if left.due_in_ms.is_none() {
                            return;
                        }
                        continue;
                    }
                    for claim in &taken {
                        assert!(held.lock().unwrap().insert(claim.id.clone()), "{} is held twice", claim.id);
                    }
                    for claim in taken {
                        // Out of the set before the row is given up: afterwards another may take it at any time.
                        held.lock().unwrap().remove(&claim.id);
                        if random.random_bool(0.2) {
                            assert_eq!(
                                claims.release(&claim, &mark(1), &ClaimReleaseReason::Back).await.unwrap(),
                                FenceAnswer::Kept
                            );
                        } else {
                            let tally = ClaimTally { pages: 1, ..ClaimTally::default() };
                            assert_eq!(claims.done(&claim, tally, None).await.unwrap(), FenceAnswer::Kept);
                            finished.lock().unwrap().push(claim.id);
                        }
                    }
                }
            });
        }
        while let Some(joined) = tasks.join_next().await {
            joined.unwrap();
        }
        let finished = finished.lock().unwrap();
        assert_eq!(finished.len(), IDS, "each id is done once");
        assert_eq!(finished.iter().collect::<BTreeSet<_>>().len(), IDS);
    });
}

#[test]
fn a_passed_lease_is_taken_over_with_a_higher_fence_and_the_zombie_writes_nothing() {
    on_both("zombie", |bench| async move {
        let claims = bench.ids(3).await;
        let old = claims.claim(3, &terms("old")).await.unwrap();
        assert_eq!(old.len(), 3);
        assert!(
            old.iter().all(|claim| claim.taken_from.is_empty() && claim.attempt == 1 && claim.fence == 1)
        );
        assert_eq!(claims.checkpoint(&old[0], &mark(2)).await.unwrap(), FenceAnswer::Kept);
        assert!(claims.claim(3, &terms("new")).await.unwrap().is_empty(), "leases run");

        bench.let_leases_pass().await;
        let new = claims.claim(3, &terms("new")).await.unwrap();
        assert_eq!(new.len(), 3);
        for claim in &new {
            assert_eq!(claim.taken_from, ["old"]);
            let before = old.iter().find(|before| before.id == claim.id).unwrap();
            assert!(claim.fence > before.fence);
        }
        let resumed = new.iter().find(|claim| claim.id == old[0].id).unwrap();
        assert_eq!((resumed.next_page.as_deref(), resumed.tally), (Some("page 2"), mark(2).tally));

        let held: Vec<_> = old.iter().map(|claim| (claim.id.clone(), claim.fence)).collect();
        assert_eq!(claims.heartbeat(&held, Duration::from_secs(60)).await.unwrap(), held, "all are lost");
        assert_eq!(claims.checkpoint(&old[0], &mark(9)).await.unwrap(), FenceAnswer::Lost);
        assert_eq!(claims.done(&old[1], ClaimTally::default(), None).await.unwrap(), FenceAnswer::Lost);
        assert_eq!(claims.dead(&old[2], &mark(9), "zombie").await.unwrap(), FenceAnswer::Lost);
        assert_eq!(
            claims.release(&old[0], &mark(9), &ClaimReleaseReason::Back).await.unwrap(),
            FenceAnswer::Lost
        );
        assert_eq!(claims.release_untouched(&held).await.unwrap(), 0);
        assert_eq!(states(&claims.status().await.unwrap()), HashMap::from([("claimed", 3)]));

        let held: Vec<_> = new.iter().map(|claim| (claim.id.clone(), claim.fence)).collect();
        assert!(claims.heartbeat(&held, Duration::from_secs(60)).await.unwrap().is_empty());
        for claim in &new {
            assert_eq!(claims.done(claim, mark(3).tally, None).await.unwrap(), FenceAnswer::Kept);
            assert_eq!(
                claims.done(claim, mark(4).tally, None).await.unwrap(),
                FenceAnswer::Kept,
                "done is done"
            );
            assert_eq!(claims.checkpoint(claim, &mark(4)).await.unwrap(), FenceAnswer::Lost);
        }
        let pages: i64 = claims.status().await.unwrap().iter().map(|count| count.tally.pages).sum();
        assert_eq!(pages, 3 * 3, "said again, nothing is written");
    });
}

#[test]
fn an_id_that_gets_no_further_is_dead_and_can_be_revived() {
    on_both("dead", |bench| async move {
        let claims = bench.ids(1).await;
        for attempt in 1..=3 {
            let taken = claims.claim(1, &terms("crashing")).await.unwrap();
            assert_eq!(taken[0].attempt, attempt);
            if attempt == 2 {
                // Got a page further: the attempts count anew.
                assert_eq!(claims.checkpoint(&taken[0], &mark(1)).await.unwrap(), FenceAnswer::Kept);
                bench.let_leases_pass().await;
                assert_eq!(claims.claim(1, &terms("crashing")).await.unwrap()[0].attempt, 2);
            }
            bench.let_leases_pass().await;
        }
        assert!(claims.claim(1, &terms("crashing")).await.unwrap().is_empty(), "the cap is 3");
        let buried = claims.buried(10).await.unwrap();
        assert_eq!((buried[0].id.as_str(), buried[0].next_page.as_deref()), ("id-00000", Some("page 1")));
        assert!(buried[0].reason.contains("3 attempts") && buried[0].reason.contains("crashing"));
        assert_eq!(claims.revive(Some("id-00000"), false).await.unwrap(), 1);
        let again = claims.claim(1, &terms("new")).await.unwrap();
        assert_eq!((again[0].attempt, again[0].taken_from.clone()), (1, vec!["crashing".to_owned()]));
        assert_eq!(again[0].next_page.as_deref(), Some("page 1"));
        assert!(again[0].fence > 3, "fences never go back: {}", again[0].fence);
    });
}

#[test]
fn enrolment_takes_each_id_once_and_only_those_that_are_wanted() {
    on_both("enrol", |bench| async move {
        let claims = bench.ids(5).await;
        assert_eq!(claims.enrol(&bench.source(), None).await.unwrap().new, 0, "again changes nothing");
        let rows = "('Ab', 9), ('aB', 9), ('ab', 9), ('ab', 9), ('Zürich/№ 7', 9), (NULL, 9), ('no', 1)";
        bench.run(&format!("INSERT INTO {} VALUES {rows}", bench.table)).await;
        let source = ClaimSource { condition: Some("tier = 9".into()), ..bench.source() };
        assert_eq!(claims.enrol(&source, None).await.unwrap().new, 4);
        let ids: BTreeSet<String> =
            claims.claim(100, &terms("h")).await.unwrap().into_iter().map(|claim| claim.id).collect();
        for id in ["Ab", "aB", "ab", "Zürich/№ 7"] {
            assert!(ids.contains(id), "{id}");
        }
        assert_eq!(ids.len(), 4, "those that were enrolled before do not meet the condition");
        let bad = ClaimSource { id_column: "id`; DROP TABLE x".into(), ..bench.source() };
        assert!(claims.enrol(&bad, None).await.is_err());
        // Two workers that start together.
        let (one, two) = (bench.claims().await, bench.claims().await);
        let (source, all) = (bench.source(), bench.source());
        bench.run(&format!("DELETE FROM {} WHERE id LIKE 'id-%'", bench.table)).await;
        let (one, two) = tokio::join!(one.enrol(&source, None), two.enrol(&all, None));
        // Both may say that they enrolled it; it is there once.
        assert!(matches!(one.unwrap().new + two.unwrap().new, 1 | 2), "only `no` was missing");
        let last: Vec<_> = claims.claim(100, &terms("h")).await.unwrap().into_iter().map(|c| c.id).collect();
        assert_eq!(last, ["no"]);
    });
}

/// Into a table that its statistics call empty: each looking at every row for each id, they would not end.
#[test]
fn eight_that_enrol_at_once_do_not_read_each_others_rows_over_and_over() {
    on_both("atonce", |bench| async move {
        let claims = bench.claims().await;
        bench.run(&format!("CREATE TABLE {} (id VARCHAR(40))", bench.table)).await;
        for from in (0..30_000).step_by(5_000) {
            let rows: Vec<String> = (from..from + 5_000).map(|n| format!("('id-{n:05}')")).collect();
            bench.run(&format!("INSERT INTO {} VALUES {}", bench.table, rows.join(", "))).await;
        }
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (bench, claims) = (bench.clone(), bench.claims().await);
            tasks.spawn(async move { claims.enrol(&bench.source(), None).await.unwrap().new });
        }
        while let Some(joined) = tasks.join_next().await {
            joined.unwrap();
        }
        assert_eq!(states(&claims.status().await.unwrap()), HashMap::from([("due", 30_000)]));
    });
}

#[test]
fn a_column_says_when_ids_are_due_and_another_which_go_first() {
    on_both("columns", |bench| async move {
        let claims = bench.claims().await;
        bench
            .run(&format!(
                "CREATE TABLE {} (id VARCHAR(40), next_at TIMESTAMP NULL, weight INT)",
                bench.table
            ))
            .await;
        let rows = "('past', '2020-01-01 00:00:00', 0), ('older', '2019-01-01 00:00:00', NULL), \
                    ('first', '2021-01-01 00:00:00', 5), ('future', '2037-01-01 00:00:00', 9), ('never', NULL, 9)";
        bench.run(&format!("INSERT INTO {} VALUES {rows}", bench.table)).await;
        let source = ClaimSource {
            due_column: Some("next_at".into()),
            priority_column: Some("weight".into()),
            ..bench.source()
        };
        assert_eq!(claims.enrol(&source, None).await.unwrap().new, 4, "null is never");
        let ids = |claims: &[IdClaim]| claims.iter().map(|claim| claim.id.clone()).collect::<Vec<_>>();
        let taken = claims.claim(10, &terms("h")).await.unwrap();
        assert_eq!(ids(&taken), ["first", "older", "past"]);
        let left = claims.outstanding(None, Duration::ZERO).await.unwrap();
        assert!(left.due_in_ms.unwrap() > 1_000_000_000, "{left:?}");
        for claim in &taken {
            assert_eq!(claims.done(claim, ClaimTally::default(), None).await.unwrap(), FenceAnswer::Kept);
        }
        // Another time, and another weight, in the user's table.
        let changes = [
            "next_at = '2022-01-01 00:00:00' WHERE id = 'past'",
            "next_at = '2023-01-01 00:00:00', weight = -1 WHERE id = 'future'",
            "weight = 7 WHERE id = 'first'",
        ];
        for change in changes {
            bench.run(&format!("UPDATE {} SET {change}", bench.table)).await;
        }
        assert_eq!(claims.enrol(&source, None).await.unwrap().new, 0);
        let taken = claims.claim(10, &terms("h")).await.unwrap();
        assert_eq!(ids(&taken), ["past", "future"]);
        assert_eq!((taken[0].run, taken[1].run), (2, 1));
        assert_eq!(claims.enrol(&source, None).await.unwrap().new, 0, "nothing has changed since");
        assert!(claims.claim(10, &terms("h")).await.unwrap().is_empty());
        // Those of a dead holder too are found in every class.
        bench.let_leases_pass().await;
        assert_eq!(claims.claim(10, &terms("heir")).await.unwrap().len(), 2);
    });
}

#[test]
fn since_when_nobody_wrote_of_progress_outlives_its_holders() {
    on_both("unwritten", |bench| async move {
        let claims = bench.ids(1).await;
        let fresh = claims.claim(1, &terms("one")).await.unwrap();
        assert_eq!(claims.checkpoint(&fresh[0], &mark(1)).await.unwrap(), FenceAnswer::Kept);
        let long_ago = "UPDATE sluice_claims SET updated_at = updated_at - 60000 WHERE job = 'unwritten'";
        bench.run(long_ago).await;
        let held = [(fresh[0].id.clone(), fresh[0].fence)];
        assert!(claims.heartbeat(&held, Duration::from_secs(60)).await.unwrap().is_empty());
        for holder in ["two", "three"] {
            bench.let_leases_pass().await;
            let over = claims.claim(1, &terms(holder)).await.unwrap();
            assert!(over[0].unwritten >= Duration::from_secs(60), "{over:?}");
            if holder == "three" {
                // Given back as it was: whoever is next must look as far back, and knows of whom.
                let same = ClaimMark { next_page: over[0].next_page.clone(), tally: over[0].tally };
                assert_eq!(
                    claims.release(&over[0], &same, &ClaimReleaseReason::Back).await.unwrap(),
                    FenceAnswer::Kept
                );
            }
        }
        let next = claims.claim(1, &terms("four")).await.unwrap();
        assert!(next[0].unwritten >= Duration::from_secs(60), "{next:?}");
        assert_eq!(next[0].taken_from, ["one", "two"]);
        assert_eq!(
            claims.release(&next[0], &mark(2), &ClaimReleaseReason::Back).await.unwrap(),
            FenceAnswer::Kept
        );
        let last = claims.claim(1, &terms("five")).await.unwrap();
        assert!(last[0].unwritten < Duration::from_secs(30) && last[0].taken_from.is_empty(), "{last:?}");
    });
}

#[test]
fn the_oldest_ids_are_found_by_the_index_however_many_are_done() {
    on_both("plan", |bench| async move {
        let claims = bench.ids(20_000).await;
        bench.run("UPDATE sluice_claims SET state = 'done' WHERE job = 'plan' AND id > 'id-02000'").await;
        let analyse = match SqlDialect::of(&bench.url).unwrap() {
            SqlDialect::MySql => "ANALYZE TABLE sluice_claims",
            SqlDialect::Postgres => "ANALYZE sluice_claims",
        };
        bench.run(analyse).await;
        let plan = claims.plan(500).await.unwrap();
        eprintln!("{plan}");
        assert!(plan.contains("sluice_claims_due"), "{plan}");
        assert!(!plan.contains("filesort") && !plan.contains("Sort"), "{plan}");
    });
}

#[test]
fn what_is_given_back_keeps_its_place() {
    on_both("release", |bench| async move {
        let claims = bench.ids(4).await;
        let terms = terms("h");
        let taken = claims.claim(4, &terms).await.unwrap();
        let [back, failed, one, two] = <[IdClaim; 4]>::try_from(taken).unwrap();
        assert_eq!(
            claims.release(&back, &mark(2), &ClaimReleaseReason::Back).await.unwrap(),
            FenceAnswer::Kept
        );
        let given = ClaimReleaseReason::Failed {
            pause: Duration::from_secs(3_600),
            reason: "the API answered 500".into(),
        };
        assert_eq!(claims.release(&failed, &mark(1), &given).await.unwrap(), FenceAnswer::Kept);
        let untouched = [(one.id.clone(), one.fence), (two.id.clone(), two.fence)];
        assert_eq!(claims.release_untouched(&untouched).await.unwrap(), 2);
        let again = claims.claim(4, &terms).await.unwrap();
        assert_eq!(again.len(), 3, "the failed one is not due for an hour");
        assert!(again.iter().all(|claim| claim.attempt == 1), "giving back does not count");
        let resumed = again.iter().find(|claim| claim.id == back.id).unwrap();
        assert_eq!(resumed.next_page.as_deref(), Some("page 2"));
        let left = claims.outstanding(None, Duration::ZERO).await.unwrap();
        assert!(left.due_in_ms.unwrap() > 3_000_000 && left.lease_in_ms.unwrap() > 30_000, "{left:?}");
    });
}

#[test]
fn a_done_id_comes_round_as_its_next_run() {
    on_both("every", |bench| async move {
        let claims = bench.ids(1).await;
        let taken = claims.claim(1, &terms("h")).await.unwrap();
        assert_eq!(
            claims.done(&taken[0], mark(4).tally, Some(Duration::ZERO)).await.unwrap(),
            FenceAnswer::Kept
        );
        let again = claims.claim(1, &terms("h")).await.unwrap();
        assert_eq!((again[0].run, again[0].attempt, &again[0].next_page), (2, 1, &None));
        assert!(again[0].fence > taken[0].fence);
        let pause = Some(Duration::from_secs(3_600));
        assert_eq!(claims.done(&again[0], mark(4).tally, pause).await.unwrap(), FenceAnswer::Kept);
        assert!(claims.claim(1, &terms("h")).await.unwrap().is_empty());
    });
}

#[test]
fn an_instance_takes_its_own_ids_back_at_once() {
    on_both("own", |bench| async move {
        let claims = bench.ids(4).await;
        let mine = claims.claim(2, &terms("me")).await.unwrap();
        let others = claims.claim(2, &terms("other")).await.unwrap();
        assert_eq!((mine.len(), others.len()), (2, 2));
        let back = claims.claim_back(&terms("me")).await.unwrap();
        let ids = |claims: &[IdClaim]| claims.iter().map(|claim| claim.id.clone()).collect::<BTreeSet<_>>();
        assert_eq!(ids(&back), ids(&mine));
        assert!(back.iter().all(|claim| claim.taken_from == ["me"] && claim.attempt == 2));
        assert_eq!(claims.done(&mine[0], ClaimTally::default(), None).await.unwrap(), FenceAnswer::Lost);
    });
}

#[test]
fn a_holder_that_nobody_fenced_is_not_forgotten() {
    on_both("owed", |bench| async move {
        let claims = bench.ids(1).await;
        claims.claim(1, &terms("one")).await.unwrap();
        // Two takes it over and dies before it fenced one; it comes back, takes its own id back and dies again.
        bench.let_leases_pass().await;
        assert_eq!(claims.claim(1, &terms("two")).await.unwrap()[0].taken_from, ["one"]);
        assert_eq!(claims.claim_back(&terms("two")).await.unwrap()[0].taken_from, ["one", "two"]);
        bench.let_leases_pass().await;
        // The cap is reached: dead, and revived by hand; one may still be alive.
        assert!(claims.claim(1, &terms("three")).await.unwrap().is_empty());
        assert_eq!(claims.revive(None, false).await.unwrap(), 1);
        let taken = claims.claim(1, &terms("three")).await.unwrap();
        assert_eq!(taken[0].taken_from, ["one", "two"]);
        assert_eq!(claims.taken_over(&[(taken[0].id.clone(), taken[0].fence)]).await.unwrap(), 1);
        assert_eq!(claims.taken_over(&[(taken[0].id.clone(), taken[0].fence - 1)]).await.unwrap(), 0);
        bench.let_leases_pass().await;
        assert_eq!(claims.claim(1, &terms("four")).await.unwrap()[0].taken_from, ["three"]);
    });
}

#[test]
fn a_claimer_does_not_wait_for_rows_that_another_has_locked() {
    on_both("skip", |bench| async move {
        let claims = bench.ids(10).await;
        let sql =
            AssertSqlSafe("SELECT id FROM sluice_claims WHERE job = 'skip' AND id < 'id-00004' FOR UPDATE");
        let begin = "BEGIN";
        // Held open over the claim, as by a claimer that is slow to commit.
        let (mut mysql, mut postgres) = (None, None);
        match SqlDialect::of(&bench.url).unwrap() {
            SqlDialect::MySql => {
                let one = mysql.insert(sqlx::MySqlConnection::connect(&bench.url).await.unwrap());
                one.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await.unwrap();
                one.execute(begin).await.unwrap();
                one.execute(sql).await.unwrap();
            }
            SqlDialect::Postgres => {
                let one = postgres.insert(sqlx::PgConnection::connect(&bench.url).await.unwrap());
                one.execute(begin).await.unwrap();
                one.execute(sql).await.unwrap();
            }
        }
        let terms = terms("h");
        let claim = tokio::time::timeout(Duration::from_secs(5), claims.claim(10, &terms));
        let taken = claim.await.expect("the claim does not wait").unwrap();
        let ids: Vec<_> = taken.iter().map(|claim| claim.id.as_str()).collect();
        assert_eq!(ids, ["id-00004", "id-00005", "id-00006", "id-00007", "id-00008", "id-00009"]);
    });
}

/// The columns that a claims table had before ids had priorities.
const OLDER: &str = "CREATE TABLE sluice_claims (job VARCHAR(120) NOT NULL, id VARCHAR(255) NOT NULL, \
    state VARCHAR(8) NOT NULL, due_at BIGINT NOT NULL, lease_until BIGINT, attempt BIGINT NOT NULL DEFAULT 0, \
    fence BIGINT NOT NULL DEFAULT 0, run BIGINT NOT NULL DEFAULT 1, holder VARCHAR(255), owed TEXT, next_page TEXT, \
    pages BIGINT NOT NULL DEFAULT 0, records BIGINT NOT NULL DEFAULT 0, rejects BIGINT NOT NULL DEFAULT 0, \
    bytes BIGINT NOT NULL DEFAULT 0, reason TEXT, updated_at BIGINT NOT NULL, PRIMARY KEY (job, id))";

#[test]
fn a_table_of_an_earlier_version_is_brought_up_to_date_with_what_it_holds() {
    // Servers of its own: the table is everybody's.
    let stack = ServerStack::builder().mariadb().postgres().start().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for url in [stack.mariadb_url(), stack.postgres_url()] {
        let bench = ClaimBench { url: url.to_owned(), job: "older".into(), table: "ids_of_older".into() };
        runtime.block_on(async {
            bench.run(OLDER).await;
            bench.run("CREATE INDEX sluice_claims_due ON sluice_claims (job, state, due_at, id)").await;
            bench
                .run(
                    "INSERT INTO sluice_claims (job, id, state, due_at, fence, next_page, updated_at) \
                     VALUES ('older', 'kept', 'due', 1, 7, 'page 3', 1)",
                )
                .await;
            let claims = || async { JobClaims::connect(&bench.url, &bench.job, 2).await.unwrap() };
            let (one, two) = (claims().await, claims().await);
            assert_eq!(one.side_table().await.unwrap(), SideTableState::Older);
            // Two workers that start together.
            let (first, second) = tokio::join!(one.migrate(), two.migrate());
            first.unwrap();
            second.unwrap();
            assert_eq!(one.side_table().await.unwrap(), SideTableState::There);
            one.migrate().await.unwrap();
            let [claim] = <[IdClaim; 1]>::try_from(one.claim(10, &terms("h")).await.unwrap()).unwrap();
            assert_eq!((claim.id.as_str(), claim.next_page.as_deref()), ("kept", Some("page 3")));
            assert!(claim.fence > 7, "fences never go back");
        });
    }
}
