//! The table that the former build (commit 970d294) made, with its rows. How they were made:
//! `tests/data/former/README.md`.

use std::collections::HashMap;

use sluice_lease::{ClaimSource, ClaimTally, FenceAnswer, IdClaim, JobClaims, SideTableState};
use sluice_stack::ServerStack;

use crate::bench::{ClaimBench, states, terms};

/// `SHOW CREATE TABLE` of MariaDB, and ten rows of the job `flights`.
const FORMER: &str = include_str!("../../../../tests/data/former/claims.sql");

const FIRST: &str = "demo-collector-collector-collector-1";
const SECOND: &str = "demo-collector-collector-collector-2";

#[test]
fn the_table_of_the_former_build_is_taken_over_with_its_rows() {
    // A server of its own: the table has one name in a database.
    let stack = ServerStack::builder().mariadb().start().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let url = stack.mariadb_url().to_owned();
    let bench = ClaimBench { url, job: "flights".into(), table: "tail_numbers".into() };
    runtime.block_on(async {
        for statement in FORMER.split(";\n").filter(|text| !text.trim().is_empty()) {
            bench.run(statement).await;
        }

        // The table is brought up to date. The ids that it knows are not enrolled again.
        let claims = JobClaims::connect(&bench.url, &bench.job, 2).await.unwrap();
        assert_eq!(claims.side_table().await.unwrap(), SideTableState::Older);
        claims.migrate().await.unwrap();
        assert_eq!(claims.side_table().await.unwrap(), SideTableState::There);
        bench.run("CREATE TABLE tail_numbers (tailnum VARCHAR(10) NOT NULL PRIMARY KEY)").await;
        bench.run("INSERT INTO tail_numbers SELECT id FROM sluice_claims").await;
        let source = ClaimSource { id_column: "tailnum".into(), ..bench.source() };
        assert_eq!(claims.enrol(&source, None).await.unwrap().new, 0);
        let before = claims.status().await.unwrap();
        assert_eq!(states(&before), HashMap::from([("done", 6), ("due", 2), ("claimed", 2)]));

        // The ids of holders that have died, then those that are due, oldest first, each with a higher fence.
        // The position, the counts and the holders that have to be fenced are as the former build left them.
        let taken = claims.claim(20, &terms("new")).await.unwrap();
        let mark = r#"{"endpoint":"flights","page":3,"token":"/v1/aircraft/N10575/flights?page=4"}"#;
        let tally = ClaimTally { pages: 4, records: 151, rejects: 0, bytes: 45_476 };
        let facts =
            |claim: &IdClaim| (claim.id.clone(), claim.fence, claim.attempt, claim.taken_from.clone());
        assert_eq!(
            taken.iter().map(facts).collect::<Vec<_>>(),
            [
                ("N107US".into(), 2, 2, vec![FIRST.to_owned()]),
                ("N108UW".into(), 3, 3, vec![FIRST.to_owned(), SECOND.to_owned()]),
                ("N105UW".into(), 1, 1, vec![]),
                ("N10575".into(), 3, 1, vec![]),
            ]
        );
        assert!(taken.iter().all(|claim| claim.run == 1));
        assert_eq!((taken[3].next_page.as_deref(), taken[3].tally), (Some(mark), tally));

        // A former holder that still lives writes nothing. The new one ends the run.
        let zombie = IdClaim { fence: 1, ..taken[0].clone() };
        assert_eq!(claims.done(&zombie, ClaimTally::default(), None).await.unwrap(), FenceAnswer::Lost);
        for claim in &taken {
            assert_eq!(claims.done(claim, tally, None).await.unwrap(), FenceAnswer::Kept, "{}", claim.id);
        }

        // `done` rows stay done, with their counts.
        let after = claims.status().await.unwrap();
        assert_eq!(states(&after), HashMap::from([("done", 10)]));
        let done = before.iter().find(|count| count.state == "done").unwrap();
        assert_eq!(after[0].tally.records, done.tally.records + 4 * tally.records);
        assert!(claims.claim(20, &terms("new")).await.unwrap().is_empty());
    });
}
