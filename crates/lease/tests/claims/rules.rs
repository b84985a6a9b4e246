//! Which ids are due, and when: ids that leave and come back, times of every kind, runs that end by themselves.

use std::time::Duration;

use sluice_lease::{
    ClaimMark, ClaimReleaseReason, ClaimSource, ClaimTally, ClaimTerms, FenceAnswer, IdFormat, JobClaims,
    SqlDialect,
};

use crate::bench::{ClaimBench, on_both, states, terms};

async fn claimed(claims: &JobClaims) -> Vec<String> {
    let mut ids: Vec<String> =
        claims.claim(100, &terms("h")).await.unwrap().into_iter().map(|claim| claim.id).collect();
    ids.sort_unstable();
    ids
}

async fn table(bench: &ClaimBench, columns: &str, rows: &str) {
    bench.run(&format!("DROP TABLE IF EXISTS {}", bench.table)).await;
    bench.run(&format!("CREATE TABLE {} ({columns})", bench.table)).await;
    bench.run(&format!("INSERT INTO {} VALUES {rows}", bench.table)).await;
}

#[test]
fn ids_that_leave_the_table_or_its_condition_are_not_asked_for_until_they_are_back() {
    on_both("leaving", |bench| async move {
        let claims = bench.claims().await;
        table(&bench, "id VARCHAR(40), tier INT", "('stays', 1), ('deleted', 1), ('barred', 1), ('done', 1)")
            .await;
        let source = ClaimSource { condition: Some("tier = 1".into()), ..bench.source() };
        claims.enrol(&source, None).await.unwrap();
        let done = ClaimTerms { attempts: 3, ..terms("h") };
        let all = claims.claim(100, &done).await.unwrap();
        for claim in &all {
            let answer = match claim.id.as_str() {
                "done" => claims.done(claim, ClaimTally::default(), None).await,
                _ => claims.release(claim, &ClaimMark::default(), &ClaimReleaseReason::Back).await,
            };
            assert_eq!(answer.unwrap(), FenceAnswer::Kept);
        }

        bench.run(&format!("DELETE FROM {} WHERE id IN ('deleted', 'done')", bench.table)).await;
        bench.run(&format!("UPDATE {} SET tier = 2 WHERE id = 'barred'", bench.table)).await;
        assert_eq!(claims.enrol(&source, None).await.unwrap().gone, 3);
        assert_eq!(claimed(&claims).await, ["stays"]);

        // Back again: the done id stays done, the others are due as before, with a higher fence.
        bench.run(&format!("INSERT INTO {} VALUES ('deleted', 1), ('done', 1)", bench.table)).await;
        bench.run(&format!("UPDATE {} SET tier = 1", bench.table)).await;
        let report = claims.enrol(&source, None).await.unwrap();
        assert_eq!((report.new, report.gone, report.back), (0, 0, 3));
        assert_eq!(claimed(&claims).await, ["barred", "deleted"]);
        assert_eq!(states(&claims.status().await.unwrap())["done"], 1);
    });
}

#[test]
fn an_id_that_was_taken_out_stays_out_even_from_the_hands_of_its_holder() {
    on_both("forgotten", |bench| async move {
        let claims = bench.ids(3).await;
        let held = claims.claim(1, &terms("h")).await.unwrap();
        assert!(claims.forget("id-00000").await.unwrap());
        assert!(!claims.forget("unknown").await.unwrap());
        assert_eq!(claims.done(&held[0], ClaimTally::default(), None).await.unwrap(), FenceAnswer::Lost);

        bench.run(&format!("INSERT INTO {} VALUES ('unknown', 1)", bench.table)).await;
        assert_eq!(claims.enrol(&bench.source(), None).await.unwrap().new, 0);
        assert_eq!(claims.revive(None, true).await.unwrap(), 0);
        assert_eq!(claimed(&claims).await, ["id-00001", "id-00002"]);
        assert_eq!(states(&claims.status().await.unwrap())["erased"], 2);
    });
}

#[test]
fn the_next_run_is_counted_from_when_this_one_was_due() {
    on_both("drift", |bench| async move {
        let claims = bench.ids(1).await;
        let every = Some(Duration::from_secs(3_600));
        // The run was due 100 s ago, and took that long.
        let job = &bench.job;
        bench.run(&format!("UPDATE sluice_claims SET due_at = due_at - 100000 WHERE job = '{job}'")).await;
        let taken = claims.claim(1, &terms("h")).await.unwrap();
        claims.done(&taken[0], ClaimTally::default(), every).await.unwrap().kept();
        let due = claims.outstanding(None, Duration::ZERO).await.unwrap().due_in_ms.unwrap();
        assert!((3_480_000..=3_500_000).contains(&due), "{due}");

        // A job that was off for a day and a half an hour goes on at its old minute, and only once.
        let passed = 24 * 3_600_000 + 1_800_000 + due;
        bench.run(&format!("UPDATE sluice_claims SET due_at = due_at - {passed} WHERE job = '{job}'")).await;
        let taken = claims.claim(1, &terms("h")).await.unwrap();
        claims.done(&taken[0], ClaimTally::default(), every).await.unwrap().kept();
        let due = claims.outstanding(None, Duration::ZERO).await.unwrap().due_in_ms.unwrap();
        assert!((1_780_000..=1_800_000).contains(&due), "{due}");
    });
}

#[test]
fn a_run_that_ends_by_itself_takes_what_was_due_at_its_start_and_its_retries() {
    on_both("atstart", |bench| async move {
        let claims = bench.ids(2).await;
        let terms = ClaimTerms { due_until: Some(claims.clock().await.unwrap() + 200), ..terms("h") };
        let taken = claims.claim(10, &terms).await.unwrap();
        assert_eq!(taken.len(), 2);

        // One is complete and due again very soon, the other is to be tried again.
        let every = Some(Duration::from_millis(1_000));
        claims.done(&taken[0], ClaimTally::default(), every).await.unwrap().kept();
        let failed = ClaimReleaseReason::Failed { pause: Duration::ZERO, reason: "500".into() };
        claims.release(&taken[1], &ClaimMark::default(), &failed).await.unwrap().kept();
        let within = Duration::from_secs(60);
        assert!(claims.outstanding(terms.due_until, within).await.unwrap().due_in_ms.is_some());
        let again = claims.claim(10, &terms).await.unwrap();
        assert_eq!(again.iter().map(|claim| &claim.id).collect::<Vec<_>>(), [&taken[1].id]);
        claims.done(&again[0], ClaimTally::default(), every).await.unwrap().kept();
        assert_eq!(claims.outstanding(terms.due_until, within).await.unwrap().due_in_ms, None);

        // Long after the start both are due again, but not for this run.
        let later = format!(
            "UPDATE sluice_claims SET due_at = {} WHERE job = '{}'",
            terms.due_until.unwrap() + 1,
            bench.job
        );
        bench.run(&later).await;
        assert!(claims.claim(10, &terms).await.unwrap().is_empty());
        assert_eq!(claims.outstanding(terms.due_until, within).await.unwrap().due_in_ms, None);
    });
}

#[test]
fn waiting_because_the_api_asked_is_no_attempt() {
    on_both("waiting", |bench| async move {
        let claims = bench.ids(1).await;
        for round in 0..5 {
            let taken = claims.claim(1, &terms("h")).await.unwrap();
            assert_eq!(taken[0].attempt, 1, "round {round}");
            let waits = ClaimReleaseReason::Waits { pause: Duration::ZERO, reason: "429".into() };
            claims.release(&taken[0], &ClaimMark::default(), &waits).await.unwrap().kept();
        }
    });
}

#[test]
fn dead_ids_come_again_after_their_time_and_empty_ones_never() {
    on_both("deadagain", |bench| async move {
        let claims = bench.claims().await;
        table(&bench, "id VARCHAR(40)", "('x'), ('')").await;
        let day = Some(Duration::from_secs(86_400));
        let report = claims.enrol(&bench.source(), day).await.unwrap();
        assert_eq!((report.new, report.has_empty), (2, true));
        let taken = claims.claim(10, &terms("h")).await.unwrap();
        assert_eq!(taken.iter().map(|claim| claim.id.as_str()).collect::<Vec<_>>(), ["x"]);
        claims.dead(&taken[0], &ClaimMark::default(), "410").await.unwrap().kept();
        let buried = claims.buried(10).await.unwrap();
        assert_eq!(buried.len(), 2);
        assert!(buried.iter().any(|id| id.id.is_empty() && id.reason.contains("the id is empty")));

        assert_eq!(claims.enrol(&bench.source(), day).await.unwrap().revived, 0, "not yet");
        let past = "UPDATE sluice_claims SET updated_at = updated_at - 90000000 WHERE job = 'deadagain'";
        bench.run(past).await;
        assert_eq!(claims.enrol(&bench.source(), day).await.unwrap().revived, 1);
        let again = claims.claim(10, &terms("h")).await.unwrap();
        assert_eq!((again[0].id.as_str(), again[0].run, again[0].attempt), ("x", 2, 1));
        assert!(again[0].fence > taken[0].fence, "fences never go back");
    });
}

#[test]
fn ids_that_differ_in_blanks_at_their_end_are_different_and_long_ones_are_counted() {
    on_both("blanks", |bench| async move {
        let claims = bench.claims().await;
        let collation = match SqlDialect::of(&bench.url).unwrap() {
            SqlDialect::MySql => "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
            SqlDialect::Postgres => "",
        };
        let long = "x".repeat(2_500);
        table(&bench, &format!("id VARCHAR(3000) {collation}"), &format!("('a'), ('a '), ('A'), ('{long}')"))
            .await;
        let report = claims.enrol(&bench.source(), None).await.unwrap();
        assert_eq!((report.new, report.too_long), (3, 1));
        assert_eq!(claimed(&claims).await, ["A", "a", "a "]);
    });
}

#[test]
fn ids_of_bytes_need_a_form_and_have_it() {
    on_both("bytes", |bench| async move {
        let claims = bench.claims().await;
        let (kind, one) = match SqlDialect::of(&bench.url).unwrap() {
            SqlDialect::MySql => ("BINARY(16)", "X'00112233445566778899aabbccddeeff'"),
            SqlDialect::Postgres => ("BYTEA", "decode('00112233445566778899aabbccddeeff', 'hex')"),
        };
        table(&bench, &format!("id {kind}"), &format!("({one})")).await;
        let error = claims.enrol(&bench.source(), None).await.unwrap_err();
        assert!(error.to_string().contains("database.id_format") && !error.retryable(), "{error}");
        let source = ClaimSource { id_format: Some(IdFormat::Uuid), ..bench.source() };
        assert_eq!(claims.enrol(&source, None).await.unwrap().new, 1);
        assert_eq!(claimed(&claims).await, ["00112233-4455-6677-8899-aabbccddeeff"]);
        let source = ClaimSource { id_format: Some(IdFormat::Hex), ..bench.source() };
        assert_eq!(claims.enrol(&source, None).await.unwrap().new, 1);
        assert_eq!(claimed(&claims).await, ["00112233445566778899aabbccddeeff"]);
    });
}

#[test]
fn every_due_time_is_a_time_or_never() {
    on_both("ages", |bench| async move {
        let claims = bench.claims().await;
        let (kind, rows) = match SqlDialect::of(&bench.url).unwrap() {
            SqlDialect::MySql => (
                "DATETIME(6)",
                "('ancient', '1000-01-01'), ('before', '1969-12-31'), ('distant', '9999-12-31'), ('never', NULL)",
            ),
            SqlDialect::Postgres => (
                "TIMESTAMPTZ",
                "('ancient', '4713-01-01 BC'), ('before', '-infinity'), ('distant', '9999-12-31'), ('never', 'infinity')",
            ),
        };
        table(&bench, &format!("id VARCHAR(40), next_at {kind}"), rows).await;
        let source = ClaimSource { due_column: Some("next_at".into()), ..bench.source() };
        assert_eq!(claims.enrol(&source, None).await.unwrap().new, 3);
        assert_eq!(claimed(&claims).await, ["ancient", "before"]);
        let due = claims.outstanding(None, Duration::ZERO).await.unwrap().due_in_ms;
        assert!(due.unwrap() > 1_000_000_000_000, "{due:?}");
    });
}

trait KeptAnswer {
    fn kept(self);
}

impl KeptAnswer for FenceAnswer {
    fn kept(self) {
        assert_eq!(self, FenceAnswer::Kept);
    }
}
