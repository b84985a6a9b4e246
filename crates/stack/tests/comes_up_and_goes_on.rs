//! Every server comes up, answers a real client, and has what it acknowledged after a second start.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use sluice_stack::{ServerStack, StackProgress, StackStartStep};
use sqlx::Connection;

const TOPIC: &str = "stack.kept.v1";
const SCHEMA: &str = r#"{"schema": "{\"type\": \"record\", \"name\": \"Kept\", \"fields\": []}"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comes_up_and_goes_on() {
    let root = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o711)).tempdir().unwrap();
    let mut ready = Vec::new();
    let mut stack = ServerStack::builder()
        .root(root.path())
        .kafka(1)
        .registry()
        .mariadb()
        .postgres()
        .on_progress(|news: &StackProgress<'_>| {
            if let StackStartStep::Ready(after) = news.step {
                eprintln!("{} after {after:?}", news.server);
                ready.push(news.server.to_owned());
            }
        })
        .start()
        .unwrap();
    let names: Vec<String> = stack.pids().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["kafka-1", "registry", "mariadb", "postgres"]);
    let id = register(&stack).await;
    write_everywhere(&stack).await;

    // Killed as by a power cut, started again: nothing acknowledged is lost, no schema id is given out twice.
    for name in &names {
        stack.kill_server(name).unwrap();
        stack.start_server(name).unwrap();
    }
    assert_eq!(register(&stack).await, id);
    assert_eq!(found_everywhere(&stack).await, (1, 1, 1));

    // Ended in good order, a second stack on the same root.
    let brokers = stack.brokers().to_owned();
    stack.stop().unwrap();
    let stack =
        ServerStack::builder().root(root.path()).kafka(1).registry().mariadb().postgres().start().unwrap();
    assert_eq!(stack.brokers(), brokers, "ports stay when they are free");
    assert_eq!(register(&stack).await, id);
    assert_eq!(found_everywhere(&stack).await, (1, 1, 1));
    drop(stack);
    ready.sort();
    assert_eq!(ready, ["kafka", "mariadb", "postgres", "registry"]);
}

#[test]
fn three_nodes_form_one_cluster() {
    let stack = ServerStack::builder().kafka(3).start().unwrap();
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", stack.brokers()).create().unwrap();
    let metadata = client.fetch_metadata(None, Duration::from_secs(10)).unwrap();
    assert_eq!(metadata.brokers().len(), 3);
}

async fn register(stack: &ServerStack) -> i64 {
    let url = format!("{}/subjects/{TOPIC}-value/versions", stack.registry_url());
    let request =
        reqwest::Client::new().post(url).header("content-type", "application/vnd.schemaregistry.v1+json");
    let answer: serde_json::Value = request.body(SCHEMA).send().await.unwrap().json().await.unwrap();
    answer["id"].as_i64().unwrap()
}

async fn write_everywhere(stack: &ServerStack) {
    let kafka = ClientConfig::new().set("bootstrap.servers", stack.brokers()).clone();
    let admin: AdminClient<DefaultClientContext> = kafka.create().unwrap();
    let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(1));
    admin.create_topics([&topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let producer: FutureProducer = kafka.create().unwrap();
    producer.send(FutureRecord::to(TOPIC).key("k").payload("v"), Duration::from_secs(10)).await.unwrap();

    let mut mariadb = sqlx::MySqlConnection::connect(stack.mariadb_url()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (id INT PRIMARY KEY); INSERT INTO kept VALUES (1)")
        .execute(&mut mariadb)
        .await
        .unwrap();
    let mut postgres = sqlx::PgConnection::connect(stack.postgres_url()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (id INT PRIMARY KEY); INSERT INTO kept VALUES (1)")
        .execute(&mut postgres)
        .await
        .unwrap();
}

/// Records in the topic, rows in `MariaDB`, rows in `PostgreSQL`.
async fn found_everywhere(stack: &ServerStack) -> (i64, i64, i64) {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", stack.brokers()).create().unwrap();
    let (low, high) = client.fetch_watermarks(TOPIC, 0, Duration::from_secs(10)).unwrap();
    let mut mariadb = sqlx::MySqlConnection::connect(stack.mariadb_url()).await.unwrap();
    let in_mariadb = sqlx::query_scalar("SELECT COUNT(*) FROM kept").fetch_one(&mut mariadb).await.unwrap();
    let mut postgres = sqlx::PgConnection::connect(stack.postgres_url()).await.unwrap();
    let in_postgres = sqlx::query_scalar("SELECT COUNT(*) FROM kept").fetch_one(&mut postgres).await.unwrap();
    (high - low, in_mariadb, in_postgres)
}
