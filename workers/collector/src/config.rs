//! The collector's configuration: what an operator writes ([`RawCollectorConfig`]) and what was found to be sound ([`CollectorConfig`]).

mod api;
mod endpoint;
mod raw;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_core::Backoff;
use sluice_lease::{ClaimSource, SqlDialect};
use sluice_runtime::config::{AdminSection, ConfigErrors, KafkaSection, RegistrySection};

pub use raw::{
    RawApi, RawAuth, RawBasicAuth, RawCollectorConfig, RawDatabase, RawEndpoint, RawHmacSignature,
    RawHoldScope, RawIncrementalField, RawKeyHeader, RawKeyLimit, RawLimits, RawMethod, RawOauthClient,
    RawPagination, RawPublishMode, RawRetry, RawSignatureFormat, RawStatusRule,
};

pub(crate) use api::{ApiConfig, AuthConfig, HmacConfig, OauthConfig};
pub(crate) use endpoint::ApiEndpoint;

/// A collector's configuration after every check that needs no neighbour. The only way to one is [`CollectorConfig::check`].
pub struct CollectorConfig {
    pub(crate) job: String,
    pub(crate) group: String,
    pub(crate) instance: Option<String>,
    pub(crate) transactional: bool,
    pub(crate) kafka: KafkaSection,
    pub(crate) registry: RegistrySection,
    pub(crate) schemas: PathBuf,
    pub(crate) admin: AdminSection,
    pub(crate) memory: usize,
    pub(crate) database: DatabaseConfig,
    pub(crate) api: ApiConfig,
    pub(crate) endpoints: Vec<ApiEndpoint>,
    /// A request takes from each.
    pub(crate) budgets: Vec<BudgetConfig>,
    pub(crate) concurrency: usize,
    pub(crate) retry: RetryConfig,
}

pub(crate) struct DatabaseConfig {
    /// Holds a password: never printed.
    pub(crate) url: String,
    pub(crate) source: ClaimSource,
    pub(crate) claim: u32,
    pub(crate) lease: Duration,
    pub(crate) attempts: u32,
    pub(crate) every: Option<Duration>,
    pub(crate) connections: u32,
    pub(crate) migrate: bool,
}

/// So many requests in a second, over everyone who names the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BudgetConfig {
    pub(crate) name: String,
    pub(crate) per_second: f64,
}

pub(crate) struct RetryConfig {
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) longest_wait: Duration,
    pub(crate) scope: RawHoldScope,
    /// Retries allowed per ten requests, over the whole process.
    pub(crate) budget: f64,
    pub(crate) max_pages: u64,
}

impl CollectorConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::check(sluice_runtime::config::load::<RawCollectorConfig>(path)?)
    }

    /// Checks what an operator wrote; reveals the secrets.
    ///
    /// # Errors
    /// Every mistake at once, with path and hint; never a value that may be secret.
    pub fn check(raw: RawCollectorConfig) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        name("job", &raw.job, &mut errors);
        name("group", &raw.group, &mut errors);
        if let Some(instance) = &raw.instance {
            name("instance", instance, &mut errors);
        }
        merge(sluice_kafka::check_properties(&raw.kafka), &mut errors);
        let database = database(&raw.database, &mut errors);
        let api = api::check(&raw.api, &mut errors);
        let endpoints = endpoint::check(&raw.endpoints, raw.api.max_record.bytes(), &mut errors);
        if raw.limits.concurrency == 0 {
            errors.add("limits.concurrency", "must be at least 1", None);
        }
        let origin = api.as_ref().map(|api| api.base.origin().ascii_serialization());
        let budgets = budgets(&raw.limits, &origin.unwrap_or_default(), &mut errors);
        if raw.retry.attempts == 0 {
            errors.add("retry.attempts", "must be at least 1", Some("1 means: no retry".into()));
        }
        let (Some(database), Some(api)) = (database, api) else { return Err(errors) };
        errors.or(())?;
        Ok(Self {
            job: raw.job,
            group: raw.group,
            instance: raw.instance,
            transactional: raw.mode == RawPublishMode::Transactional,
            kafka: raw.kafka,
            registry: raw.registry,
            schemas: raw.schemas,
            admin: raw.admin,
            memory: raw.memory.bytes(),
            database,
            api,
            endpoints,
            budgets,
            concurrency: raw.limits.concurrency,
            retry: RetryConfig {
                attempts: raw.retry.attempts,
                backoff: Backoff {
                    base: Duration::from_millis(raw.retry.base_ms),
                    cap: Duration::from_millis(raw.retry.cap_ms),
                    floor: Duration::from_millis(raw.retry.base_ms.min(50)),
                },
                longest_wait: Duration::from_secs(raw.retry.longest_wait_seconds),
                scope: raw.limits.retry_after,
                budget: f64::from(raw.retry.budget_percent) / 100.0,
                max_pages: raw.limits.max_pages,
            },
        })
    }

    /// The admin section, for whoever serves it.
    pub fn admin(&self) -> &AdminSection {
        &self.admin
    }

    /// The topics that records of this job go to, in the order of its endpoints; each has its dead-letter topic.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().map(|endpoint| endpoint.topic.as_str())
    }

    /// The compacted topic of the job's page checkpoints (transactional mode).
    pub fn checkpoint_topic(&self) -> String {
        format!("sluice.collector.{}.checkpoints", self.job)
    }
}

/// Names become parts of topic names, transactional ids and table rows.
fn name(path: &str, text: &str, errors: &mut ConfigErrors) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 100 || !text.chars().all(plain) {
        let hint = "1 to 100 of a-z, A-Z, 0-9, `-`, `_`, `.`".to_owned();
        errors.add(path, "is not a name that Kafka allows in a topic", Some(hint));
    }
}

fn budgets(raw: &RawLimits, origin: &str, errors: &mut ConfigErrors) -> Vec<BudgetConfig> {
    let mut budgets = Vec::new();
    let mut add = |path: &str, name: String, per_second: f64| {
        // Tokens are counted in whole numbers; beyond a million per second nobody waits for one.
        if per_second.is_finite() && per_second > 0.0 && per_second <= 1e6 {
            budgets.push(BudgetConfig { name, per_second });
        } else {
            let hint = "leave it out for no limit".to_owned();
            errors.add(path, "must be a number above 0, at most 1000000", Some(hint));
        }
    };
    if let Some(per_second) = raw.requests_per_second {
        add("limits.requests_per_second", format!("host {origin}"), per_second);
    }
    if let Some(key) = &raw.key {
        add("limits.key.requests_per_second", format!("key {}", key.name), key.requests_per_second);
    }
    if let Some(key) = &raw.key {
        name("limits.key.name", &key.name, errors);
    }
    budgets
}

pub(crate) fn merge<T>(result: Result<T, ConfigErrors>, errors: &mut ConfigErrors) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(found) => {
            errors.0.extend(found.0);
            None
        }
    }
}

fn database(raw: &RawDatabase, errors: &mut ConfigErrors) -> Option<DatabaseConfig> {
    if raw.lease_seconds < 5 {
        let hint = "heartbeats go out every third of it; 60 is a good start".to_owned();
        errors.add("database.lease_seconds", "must be at least 5", Some(hint));
    }
    if raw.claim == 0 || raw.claim > 10_000 {
        errors.add("database.claim", "must be between 1 and 10000", None);
    }
    if raw.attempts == 0 {
        errors.add("database.attempts", "must be at least 1", None);
    }
    if raw.connections < 2 {
        errors.add(
            "database.connections",
            "must be at least 2",
            Some("heartbeats need one of their own".into()),
        );
    }
    if raw.due_column.is_some() && raw.every_seconds.is_some() {
        let hint = "with a column an id is due again when the column says another time".to_owned();
        errors.add("database.every_seconds", "stands beside database.due_column", Some(hint));
    }
    let url = merge(raw.url.reveal("database.url"), errors)?;
    let dialect = match SqlDialect::of(&url) {
        Ok(dialect) => dialect,
        Err(error) => {
            errors.add("database.url", error.to_string(), None);
            return None;
        }
    };
    for (path, name) in [
        ("database.table", Some(&raw.table)),
        ("database.id_column", Some(&raw.id_column)),
        ("database.due_column", raw.due_column.as_ref()),
        ("database.priority_column", raw.priority_column.as_ref()),
    ] {
        if let Some(Err(error)) = name.map(|name| dialect.check_name(name)) {
            errors.add(path, error.to_string(), None);
        }
    }
    Some(DatabaseConfig {
        url,
        source: ClaimSource {
            table: raw.table.clone(),
            id_column: raw.id_column.clone(),
            condition: raw.condition.clone(),
            due_column: raw.due_column.clone(),
            priority_column: raw.priority_column.clone(),
        },
        claim: raw.claim,
        lease: Duration::from_secs(raw.lease_seconds),
        attempts: raw.attempts,
        every: raw.every_seconds.map(Duration::from_secs),
        connections: raw.connections,
        migrate: raw.migrate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
job: flights
group: demo
kafka: {brokers: "127.0.0.1:9092"}
registry: {url: "http://127.0.0.1:8081"}
schemas: schemas
database: {url: {file: URL}, table: tail_numbers, id_column: tailnum}
api: {base_url: "http://127.0.0.1:8000"}
endpoints:
  - name: flights
    path: "/v1/aircraft/{id}/flights"
    pagination: {kind: next_url, at: next}
    record_path: data
    topic: aviation.flight.v1
    on_status: {404: none}
"#;

    fn with_url(text: &str) -> Result<CollectorConfig, ConfigErrors> {
        let file = std::env::temp_dir().join(format!("sluice-collector-url-{}", std::process::id()));
        std::fs::write(&file, "mysql://u:hunter2@127.0.0.1/db\n").unwrap();
        let raw = sluice_runtime::config::parse::<RawCollectorConfig>(
            &text.replace("URL", file.to_str().unwrap()),
            "f",
        );
        raw.and_then(CollectorConfig::check)
    }

    #[test]
    fn a_short_file_is_enough() {
        let config = with_url(GOOD).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.database.claim, 500);
        assert!(config.transactional);
        assert_eq!(config.endpoints[0].on_status.get(&404), Some(&RawStatusRule::None));
        assert_eq!(config.checkpoint_topic(), "sluice.collector.flights.checkpoints");
    }

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        for (good, bad) in [
            ("job: flights", "job: flights\ncolour: red"),
            ("at: next", "at: next, colour: red"),
            ("{404: none}", "{404: maybe}"),
        ] {
            assert!(with_url(&GOOD.replace(good, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_mistake_at_once() {
        let text = GOOD
            .replace("job: flights", "job: 'my flights'")
            .replace("http://127.0.0.1:8000", "ftp://u:hunter2@host")
            .replace("{id}/flights", "{tail}/flights")
            .replace("404", "9000");
        let errors = with_url(&text).err().unwrap();
        let paths: Vec<_> = errors.0.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["job", "api.base_url", "endpoints[0].path", "endpoints[0].on_status.9000"]);
        assert!(!errors.to_string().contains("hunter2"));
    }
}
