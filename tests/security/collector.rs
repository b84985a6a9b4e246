//! Each permission of the collector is needed: one that publishes pages, writes a dead letter, makes its checkpoint
//! topic, and takes over from one that was killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use sluice_core::AclOperation;
use sluice_core::names::READER_GROUP;
use sluice_lease::JobClaims;
use sluice_tests::clients::count;
use sluice_tests::eventually;
use sluice_tests::worker::TestWorkerProcess;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::fleet::{SHARED, SecurityFleet, admin, scram, servers, stack};

const WAIT: Duration = Duration::from_secs(120);

/// One page with a record and one that does not fit the contract; or no answer at all.
async fn answer(State(silent): State<Arc<AtomicBool>>) -> String {
    if silent.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    r#"{"data":[{"id":"a","at":"2026-01-01T00:00:00Z","n":1,"note":"x"},{"id":"b","n":"no number"}]}"#
        .to_owned()
}

/// A table with one id for each job: a job begins with nothing, neither claims nor a checkpoint topic.
struct SecurityJobTable<'f> {
    fleet: &'f SecurityFleet,
    runtime: tokio::runtime::Runtime,
    api: String,
    silent: Arc<AtomicBool>,
}

struct SecurityJob {
    claims: JobClaims,
    config: PathBuf,
}

impl<'f> SecurityJobTable<'f> {
    fn new(fleet: &'f SecurityFleet) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let silent = Arc::new(AtomicBool::new(false));
        let api = runtime.block_on(async {
            let app = Router::new().fallback(answer).with_state(Arc::clone(&silent));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, app).await });
            format!("http://{address}")
        });
        fleet.write("url", stack().postgres_url());
        Self { fleet, runtime, api, silent }
    }

    /// A job; one whose id was claimed by a process that was killed, if `orphaned`.
    fn job(&self, nth: usize, orphaned: bool) -> SecurityJob {
        let name = format!("needs{nth}");
        let url = stack().postgres_url();
        let claims = self.runtime.block_on(async {
            let mut database = sqlx::PgConnection::connect(url).await.unwrap();
            for sql in [
                format!("CREATE TABLE ids_of_{name} (id VARCHAR(20) PRIMARY KEY)"),
                format!("INSERT INTO ids_of_{name} VALUES ('one')"),
            ] {
                database.execute(AssertSqlSafe(sql)).await.unwrap();
            }
            let claims = JobClaims::connect(url, &name, 2).await.unwrap();
            claims.migrate().await.unwrap();
            claims
        });
        let text = format!(
            "{}admin: {{listen: \"127.0.0.1:0\"}}\njob: {name}\ngroup: {}\nmode: transactional\n\
             database: {{url: {{file: {}}}, table: ids_of_{name}, id_column: id, lease_seconds: 5, attempts: 1000}}\n\
             api: {{base_url: \"{}\"}}\n\
             endpoints: [{{name: e, path: \"/v1/{{id}}\", pagination: {{kind: none}}, record_path: data, topic: {}}}]\n",
            self.fleet.common(&scram("needs-collector")),
            self.fleet.group("collector"),
            self.fleet.file("url").display(),
            self.api,
            self.fleet.raw(),
        );
        let job = SecurityJob { claims, config: self.fleet.write(&format!("{name}.yaml"), &text) };
        if orphaned {
            self.silent.store(true, Ordering::SeqCst);
            let mut first = TestWorkerProcess::start("collector", &job.config);
            eventually("an id that is claimed", WAIT, || (self.ids(&job, "claimed") == 1).then_some(()));
            first.kill();
            self.silent.store(false, Ordering::SeqCst);
        }
        job
    }

    fn ids(&self, job: &SecurityJob, state: &str) -> i64 {
        let counts = self.runtime.block_on(job.claims.status()).unwrap();
        counts.iter().filter(|count| count.state == state).map(|count| count.ids).sum()
    }
}

#[test]
fn each_permission_of_the_collector_is_needed() {
    let fleet = SecurityFleet::applied("needs-collector");
    let jobs = SecurityJobTable::new(&fleet);
    let acls = fleet.acls("needs-collector");
    assert!(acls.len() >= 7, "{acls:?}");
    let admin = admin();
    for (nth, acl) in acls.iter().enumerate() {
        // What only a successor does.
        let takes_over = acl.operation == AclOperation::Read || acl.name == READER_GROUP;
        let job = jobs.job(nth, takes_over);
        {
            let _shared = SHARED.write().unwrap();
            admin.forbid(std::slice::from_ref(acl)).unwrap();
            let mut worker = TestWorkerProcess::start("collector", &job.config);
            eventually(&format!("a word about what is not permitted, without {acl}"), WAIT, || {
                assert_eq!(jobs.ids(&job, "done"), 0, "done without {acl}:\n{}", worker.log());
                worker.log().to_lowercase().contains("authoriz").then_some(())
            });
            worker.kill();
            admin.permit(std::slice::from_ref(acl)).unwrap();
        }
        // With all of them the same job is done.
        let mut worker = TestWorkerProcess::start("collector", &job.config);
        eventually("the id done", WAIT, || (jobs.ids(&job, "done") == 1).then_some(()));
        assert!(worker.end(Duration::from_secs(30)).success(), "{}", worker.log());
    }
    let letters = format!("{}.dead-letter", fleet.raw());
    let once = (acls.len(), acls.len());
    assert_eq!((count(&servers(), &fleet.raw()), count(&servers(), &letters)), once, "once each");
}
