//! The collector's configuration: the file of an operator ([`RawCollectorConfig`]) and its checked form
//! ([`CollectorConfig`]).

mod api;
mod endpoint;
mod raw;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_core::Backoff;
use sluice_lease::{ClaimSource, IdFormat, SqlDialect};
use sluice_runtime::config::{
    AdminSection, ConfigErrors, KafkaSection, LimitsSection, RegistrySection, check_neighbours,
};

pub use raw::{
    RawApi, RawAuth, RawBasicAuth, RawCollectorConfig, RawCollectorLimits, RawCondition, RawConditionAction,
    RawDatabase, RawEndpoint, RawHmacSignature, RawHoldScope, RawIdFormat, RawIncrementalField, RawKeyHeader,
    RawKeyLimit, RawMethod, RawOauthClient, RawPagination, RawPath, RawPublishMode, RawRate, RawRateHeader,
    RawRateUnit, RawRetry, RawSignatureFormat, RawStatusRule,
};

pub(crate) use api::{ApiConfig, AuthConfig, HmacConfig, OauthConfig};
pub(crate) use endpoint::ApiEndpoint;

/// A collector's configuration after every check that needs no neighbour. Only [`CollectorConfig::check`]
/// makes one.
pub struct CollectorConfig {
    pub(crate) job: String,
    pub(crate) group: String,
    pub(crate) instance: Option<String>,
    pub(crate) transactional: bool,
    pub(crate) kafka: KafkaSection,
    pub(crate) registry: RegistrySection,
    pub(crate) schemas: PathBuf,
    pub(crate) admin: AdminSection,
    pub(crate) limits: LimitsSection,
    /// Bytes.
    pub(crate) memory: usize,
    pub(crate) database: DatabaseConfig,
    pub(crate) api: ApiConfig,
    pub(crate) endpoints: Vec<ApiEndpoint>,
    /// A request takes a token from each.
    pub(crate) budgets: Vec<BudgetConfig>,
    pub(crate) concurrency: usize,
    pub(crate) retry: RetryConfig,
}

/// The table of ids, and the rules of its claims.
pub(crate) struct DatabaseConfig {
    /// Holds a password and is never printed.
    pub(crate) url: String,
    pub(crate) source: ClaimSource,
    /// Ids that are claimed at once.
    pub(crate) claim: u32,
    pub(crate) lease: Duration,
    /// Attempts without progress after which an id is dead.
    pub(crate) attempts: u32,
    /// The time after which a done id is due again; `None` collects it once.
    pub(crate) every: Option<Duration>,
    /// The time after which a dead id is due again; `None` leaves it dead.
    pub(crate) dead_again: Option<Duration>,
    /// Ids after which a run ends.
    pub(crate) ids_per_run: Option<u64>,
    /// Secret of the ids' pseudonyms in dead letters. Never printed.
    pub(crate) pseudonym: Option<String>,
    pub(crate) connections: u32,
    /// True if the worker may create its tables.
    pub(crate) migrate: bool,
}

/// Requests per second, over all processes that use the same name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BudgetConfig {
    pub(crate) name: String,
    pub(crate) per_second: f64,
}

/// The rules after a failed request, and the bound of pages.
pub(crate) struct RetryConfig {
    /// Requests per page at most.
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    /// The longest wait for which a task keeps its id.
    pub(crate) longest_wait: Duration,
    pub(crate) scope: RawHoldScope,
    /// Retries that each request earns, over the whole process: 0.5 is five retries per ten requests.
    pub(crate) budget: f64,
    /// Pages of one endpoint and id at most.
    pub(crate) max_pages: u64,
    /// Headers in which the API tells how long to wait, beside the usual ones.
    pub(crate) headers: Vec<RawRateHeader>,
}

impl CollectorConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::check(sluice_runtime::config::load::<RawCollectorConfig>(path)?)
            .map_err(|errors| errors.in_file(path))
    }

    /// Checks an operator's file and reads the secrets that it refers to.
    ///
    /// # Errors
    /// Every mistake at once, with path and hint. No error quotes a value that may be secret.
    pub fn check(raw: RawCollectorConfig) -> Result<Self, ConfigErrors> {
        // Every section is checked before the first error is returned: an operator sees all mistakes at once.
        let mut errors = ConfigErrors::default();
        check_name("job", &raw.job, &mut errors);
        check_name("group", &raw.group, &mut errors);
        if let Some(instance) = &raw.instance {
            check_name("instance", instance, &mut errors);
        }
        merge(check_neighbours(&raw.kafka, &raw.registry), &mut errors);
        let database = check_database(&raw.database, &mut errors);
        let api = api::check(&raw.api, &mut errors);
        let endpoints = endpoint::check(&raw.endpoints, raw.api.max_record.bytes(), &mut errors);

        // Rate and retries. Without a sound URL the budget's name is wrong, but then the file is refused
        // anyway.
        let (limits, rate, section) = raw.limits.split(raw.rate, &mut errors);
        if rate.concurrency == 0 {
            errors.add(format!("{section}.concurrency"), "expected at least 1", None);
        }
        let origin = api.as_ref().map(|api| api.base.origin().ascii_serialization());
        let budgets = check_budgets(&rate, section, &origin.unwrap_or_default(), &mut errors);
        for (nth, header) in rate.headers.iter().enumerate() {
            if reqwest::header::HeaderName::from_bytes(header.name.as_bytes()).is_err() {
                errors.add(format!("{section}.headers[{nth}].name"), "expected a header name", None);
            }
        }
        if raw.retry.attempts == 0 {
            errors.add("retry.attempts", "expected at least 1", Some("1 means: no retry".into()));
        }

        // A section that is missing here has added its error.
        debug_assert!(
            (database.is_some() && api.is_some()) || !errors.0.is_empty(),
            "a section was refused without an error"
        );
        let (Some(database), Some(api)) = (database, api) else { return Err(errors) };
        errors.or(())?;

        // The file is sound: from here on nothing fails.
        Ok(Self {
            job: raw.job,
            group: raw.group,
            instance: raw.instance,
            transactional: raw.mode == RawPublishMode::Transactional,
            kafka: raw.kafka,
            registry: raw.registry,
            schemas: raw.schemas,
            admin: raw.admin,
            limits,
            memory: raw.memory.bytes(),
            database,
            api,
            endpoints,
            budgets,
            concurrency: rate.concurrency,
            retry: RetryConfig {
                attempts: raw.retry.attempts,
                backoff: Backoff {
                    base: Duration::from_millis(raw.retry.base_ms),
                    cap: Duration::from_millis(raw.retry.cap_ms),
                    // Jitter must not shrink a wait to nothing.
                    floor: Duration::from_millis(raw.retry.base_ms.min(50)),
                },
                longest_wait: Duration::from_secs(raw.retry.longest_wait_seconds),
                scope: rate.retry_after,
                budget: f64::from(raw.retry.budget_percent) / 100.0,
                max_pages: rate.max_pages,
                headers: rate.headers,
            },
        })
    }

    /// Returns the section of the admin pages.
    pub fn admin(&self) -> &AdminSection {
        &self.admin
    }

    /// Returns the topics that records of this job go to, in the order of its endpoints. Each has a
    /// dead-letter topic.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().map(|endpoint| endpoint.topic.as_str())
    }

    /// Returns the compacted topic of the job's page checkpoints (transactional mode).
    pub fn checkpoint_topic(&self) -> String {
        sluice_core::names::checkpoint_topic(&self.job)
    }
}

/// Checks a name that becomes a part of topic names, transactional ids and table rows.
fn check_name(path: &str, text: &str, errors: &mut ConfigErrors) {
    // Kafka allows these characters in a topic. Its 249 bytes leave room for prefix and suffix around 100.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 100 || !text.chars().all(plain) {
        let hint = "the name becomes a part of topic names, transactional ids and table rows".to_owned();
        errors.add(path, "expected 1 to 100 of a-z, A-Z, 0-9, `-`, `_`, `.`", Some(hint));
    }
}

/// Returns the budgets of the rate. `section` is the section in which the file has them, and `origin` names the
/// budget that all jobs for the same host share.
fn check_budgets(raw: &RawRate, section: &str, origin: &str, errors: &mut ConfigErrors) -> Vec<BudgetConfig> {
    let mut budgets = Vec::new();
    let mut add = |path: String, name: String, per_second: f64| {
        // Tokens are counted in whole numbers. Beyond a million per second no request waits for one.
        if per_second.is_finite() && per_second > 0.0 && per_second <= 1e6 {
            budgets.push(BudgetConfig { name, per_second });
        } else {
            let hint = "leave it out for no limit".to_owned();
            errors.add(path, "expected a number above 0 and at most 1000000", Some(hint));
        }
    };
    // The prefixes keep a host and a key of the same name apart: both are rows of `sluice_budgets`.
    if let Some(per_second) = raw.requests_per_second {
        add(format!("{section}.requests_per_second"), format!("host {origin}"), per_second);
    }
    if let Some(key) = &raw.key {
        let path = format!("{section}.key.requests_per_second");
        add(path, format!("key {}", key.name), key.requests_per_second);
    }
    if let Some(key) = &raw.key {
        check_name(&format!("{section}.key.name"), &key.name, errors);
    }
    budgets
}

/// Returns a sound value, or adds its errors to the others.
pub(crate) fn merge<T>(result: Result<T, ConfigErrors>, errors: &mut ConfigErrors) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(found) => {
            errors.0.extend(found.0);
            None
        }
    }
}

/// Checks the database's section and reads its URL.
fn check_database(raw: &RawDatabase, errors: &mut ConfigErrors) -> Option<DatabaseConfig> {
    // The numbers.
    if raw.lease_seconds < 5 {
        let hint = "heartbeats go out every third of it; 60 is a good start".to_owned();
        errors.add("database.lease_seconds", "expected at least 5", Some(hint));
    }
    if raw.claim == 0 || raw.claim > 10_000 {
        errors.add("database.claim", "expected 1 to 10000", None);
    }
    if raw.attempts == 0 {
        errors.add("database.attempts", "expected at least 1", None);
    }
    if raw.connections < 2 {
        // A heartbeat that waits behind claims could come after the lease.
        errors.add(
            "database.connections",
            "expected at least 2",
            Some("heartbeats need a connection of their own".into()),
        );
    }
    if raw.every_seconds == Some(0) {
        errors.add("database.every_seconds", "expected at least 1", None);
    }
    if raw.ids_per_run == Some(0) {
        errors.add("database.ids_per_run", "expected at least 1", None);
    }
    if raw.due_column.is_some() && raw.every_seconds.is_some() {
        let hint = "with a due column an id is due again when its column names another time".to_owned();
        errors.add("database.every_seconds", "cannot be combined with database.due_column", Some(hint));
    }

    // The URL decides the dialect, and the dialect decides which names are valid.
    let pseudonym = match &raw.id_pseudonym {
        Some(secret) => Some(merge(secret.reveal("database.id_pseudonym"), errors)?),
        None => None,
    };
    let url = merge(raw.url.reveal("database.url"), errors)?;
    let dialect = match SqlDialect::of(&url) {
        Ok(dialect) => dialect,
        Err(error) => {
            errors.add("database.url", error.to_string(), None);
            return None;
        }
    };

    // Names are put into SQL as they are, so they are checked.
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
            id_format: raw.id_format.map(|format| match format {
                RawIdFormat::Text => IdFormat::Text,
                RawIdFormat::Uuid => IdFormat::Uuid,
                RawIdFormat::Hex => IdFormat::Hex,
            }),
            condition: raw.condition.clone(),
            due_column: raw.due_column.clone(),
            priority_column: raw.priority_column.clone(),
        },
        claim: raw.claim,
        lease: Duration::from_secs(raw.lease_seconds),
        attempts: raw.attempts,
        every: raw.every_seconds.map(Duration::from_secs),
        dead_again: raw.dead_again_seconds.or(raw.every_seconds).map(Duration::from_secs),
        ids_per_run: raw.ids_per_run,
        pseudonym,
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
    fn the_former_spelling_of_the_rate_is_read_unless_the_new_one_is_there_too() {
        // The former spelling, beside a limit of every worker.
        let former = "limits: {requests_per_second: 5, max_pages: 20, drain_seconds: 7}\n";
        let config = with_url(&format!("{GOOD}{former}")).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!((config.retry.max_pages, config.concurrency), (20, 32));
        assert_eq!(config.budgets[0].per_second, 5.0);
        assert_eq!(config.limits.drain(), Duration::from_secs(7));

        // The new one means the same.
        let new = "rate: {requests_per_second: 5, max_pages: 20}\nlimits: {drain_seconds: 7}\n";
        let config = with_url(&format!("{GOOD}{new}")).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!((config.retry.max_pages, config.concurrency), (20, 32));
        assert_eq!(config.budgets[0].per_second, 5.0);

        // A file with both is refused, with one mistake for each former key.
        let errors = with_url(&format!("{GOOD}rate: {{concurrency: 8}}\n{former}")).err().unwrap();
        let paths: Vec<_> = errors.0.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["limits.requests_per_second", "limits.max_pages"]);
        assert_eq!(errors.0[1].hint.as_deref(), Some("write it as `rate.max_pages`"));

        // A mistake is named where the file has it.
        for section in ["limits", "rate"] {
            let errors = with_url(&format!("{GOOD}{section}: {{concurrency: 0}}\n")).err().unwrap();
            assert_eq!(errors.0[0].path, format!("{section}.concurrency"));
        }
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
