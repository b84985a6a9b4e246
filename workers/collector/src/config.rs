//! The collector's configuration: what an operator writes ([`RawConfig`]) and what was found to be sound ([`Config`]).

mod raw;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_core::Backoff;
use sluice_lease::{Dialect, Source};
use sluice_runtime::config::{AdminSection, ConfigErrors, KafkaSection, RegistrySection};

pub use raw::{
    RawApi, RawAuth, RawBasic, RawConfig, RawDatabase, RawEndpoint, RawKeyHeader, RawLimits, RawMode,
    RawOnStatus, RawPagination, RawRetry, RawScope,
};

use crate::page::{PathError, Paths};
use crate::pagination::Pagination;
use crate::template::Template;

/// A collector's configuration after every check that needs no neighbour. The only way to one is [`Config::check`].
pub struct Config {
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
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) requests_per_second: Option<f64>,
    pub(crate) concurrency: usize,
    pub(crate) retry: RetryConfig,
}

pub(crate) struct DatabaseConfig {
    /// Holds a password: never printed.
    pub(crate) url: String,
    pub(crate) source: Source,
    pub(crate) claim: u32,
    pub(crate) lease: Duration,
    pub(crate) attempts: u32,
    pub(crate) every: Option<Duration>,
    pub(crate) connections: u32,
    pub(crate) migrate: bool,
}

pub(crate) struct ApiConfig {
    pub(crate) base: reqwest::Url,
    pub(crate) headers: Vec<(String, String)>,
    /// Header name and value that carry the credentials; go to the API's own origin only.
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_page: usize,
}

/// One resource that is asked for every id.
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) path: Template,
    pub(crate) pagination: Pagination,
    pub(crate) paths: Paths,
    pub(crate) topic: String,
    pub(crate) on_status: BTreeMap<u16, RawOnStatus>,
}

pub(crate) struct RetryConfig {
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) longest_wait: Duration,
    pub(crate) scope: RawScope,
    /// Retries allowed per ten requests, over the whole process.
    pub(crate) budget: f64,
    pub(crate) max_pages: u64,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::check(sluice_runtime::config::load::<RawConfig>(path)?)
    }

    /// Checks what an operator wrote; reveals the secrets.
    ///
    /// # Errors
    /// Every mistake at once, with path and hint; never a value that may be secret.
    pub fn check(raw: RawConfig) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        name("job", &raw.job, &mut errors);
        name("group", &raw.group, &mut errors);
        if let Some(instance) = &raw.instance {
            name("instance", instance, &mut errors);
        }
        merge(sluice_runtime::kafka::check_properties(&raw.kafka), &mut errors);
        let database = database(&raw.database, &mut errors);
        let api = api(&raw.api, &mut errors);
        let endpoints = endpoints(&raw.endpoints, &mut errors);
        if raw.limits.concurrency == 0 {
            errors.add("limits.concurrency", "must be at least 1", None);
        }
        if raw.limits.requests_per_second.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            let hint = "leave it out for no limit".to_owned();
            errors.add("limits.requests_per_second", "must be a number above 0", Some(hint));
        }
        if raw.retry.attempts == 0 {
            errors.add("retry.attempts", "must be at least 1", Some("1 means: no retry".into()));
        }
        let (Some(database), Some(api)) = (database, api) else { return Err(errors) };
        errors.or(())?;
        Ok(Self {
            job: raw.job,
            group: raw.group,
            instance: raw.instance,
            transactional: raw.mode == RawMode::Transactional,
            kafka: raw.kafka,
            registry: raw.registry,
            schemas: raw.schemas,
            admin: raw.admin,
            memory: raw.memory.bytes(),
            database,
            api,
            endpoints,
            requests_per_second: raw.limits.requests_per_second,
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

fn merge<T>(result: Result<T, ConfigErrors>, errors: &mut ConfigErrors) -> Option<T> {
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
    let url = merge(raw.url.reveal("database.url"), errors)?;
    if let Err(error) = Dialect::of(&url) {
        errors.add("database.url", error.to_string(), None);
        return None;
    }
    Some(DatabaseConfig {
        url,
        source: Source {
            table: raw.table.clone(),
            id_column: raw.id_column.clone(),
            condition: raw.condition.clone(),
        },
        claim: raw.claim,
        lease: Duration::from_secs(raw.lease_seconds),
        attempts: raw.attempts,
        every: raw.every_seconds.map(Duration::from_secs),
        connections: raw.connections,
        migrate: raw.migrate,
    })
}

fn api(raw: &RawApi, errors: &mut ConfigErrors) -> Option<ApiConfig> {
    let credentials = match &raw.auth {
        None => None,
        Some(RawAuth::Bearer(secret)) => {
            let token = merge(secret.reveal("api.auth.bearer"), errors);
            token.map(|token| ("authorization".to_owned(), format!("Bearer {token}")))
        }
        Some(RawAuth::Basic(basic)) => {
            let password = merge(basic.password.reveal("api.auth.basic.password"), errors);
            password
                .map(|password| ("authorization".to_owned(), crate::client::basic(&basic.user, &password)))
        }
        Some(RawAuth::Header(header)) => {
            let value = merge(header.value.reveal("api.auth.header.value"), errors);
            value.map(|value| (header.name.to_ascii_lowercase(), value))
        }
    };
    if let Some((name, value)) = &credentials {
        if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
            errors.add("api.auth.header.name", "is not a header name", None);
        }
        if reqwest::header::HeaderValue::from_str(value).is_err() {
            let hint = "look for line breaks in the secret".to_owned();
            errors.add("api.auth", "holds characters that no header may hold", Some(hint));
        }
    }
    for (name, value) in &raw.headers {
        let sound = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
            && reqwest::header::HeaderValue::from_str(value).is_ok();
        if !sound {
            errors.add(format!("api.headers.{name}"), "is not a valid header", None);
        }
    }
    let base = match reqwest::Url::parse(&raw.base_url) {
        Ok(base) if matches!(base.scheme(), "http" | "https") && base.has_host() => base,
        _ => {
            errors.add("api.base_url", "is not an http or https URL", Some("https://api.example.org".into()));
            return None;
        }
    };
    if !base.username().is_empty() || base.password().is_some() {
        errors.add("api.base_url", "holds credentials", Some("put them under api.auth".into()));
    }
    Some(ApiConfig {
        base,
        headers: raw.headers.clone().into_iter().collect(),
        credentials,
        connect_timeout: Duration::from_secs(raw.connect_timeout_seconds),
        timeout: Duration::from_secs(raw.timeout_seconds),
        max_page: raw.max_page.bytes(),
    })
}

fn endpoints(raw: &[RawEndpoint], errors: &mut ConfigErrors) -> Vec<Endpoint> {
    if raw.is_empty() {
        errors.add("endpoints", "is empty", Some("a job asks at least one endpoint per id".into()));
    }
    let mut sound = Vec::new();
    for (nth, endpoint) in raw.iter().enumerate() {
        let at = |key: &str| format!("endpoints[{nth}].{key}");
        name(&at("name"), &endpoint.name, errors);
        if raw[..nth].iter().any(|earlier| earlier.name == endpoint.name) {
            errors.add(at("name"), "is taken by an earlier endpoint", None);
        }
        name(&at("topic"), &endpoint.topic, errors);
        let path = match Template::parse(&endpoint.path) {
            Ok(path) => Some(path),
            Err(error) => {
                errors.add(at("path"), error.to_string(), Some("/v1/things/{id}/parts".into()));
                None
            }
        };
        let pagination = Pagination::new(&endpoint.pagination);
        let paths = match Paths::compile(&endpoint.record_path, &pagination.wanted()) {
            Ok(paths) => Some(paths),
            Err(PathError { path, why }) => {
                errors.add(at("record_path"), format!("`{path}` {why}"), None);
                None
            }
        };
        let mut on_status = BTreeMap::new();
        for (status, rule) in &endpoint.on_status {
            match status.parse::<u16>() {
                Ok(code) if (100..600).contains(&code) => {
                    on_status.insert(code, *rule);
                }
                _ => errors.add(at(&format!("on_status.{status}")), "is not an HTTP status", None),
            }
        }
        if let (Some(path), Some(paths)) = (path, paths) {
            let (name, topic) = (endpoint.name.clone(), endpoint.topic.clone());
            sound.push(Endpoint { name, path, pagination, paths, topic, on_status });
        }
    }
    sound
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

    fn with_url(text: &str) -> Result<Config, ConfigErrors> {
        let file = std::env::temp_dir().join(format!("sluice-collector-url-{}", std::process::id()));
        std::fs::write(&file, "mysql://u:hunter2@127.0.0.1/db\n").unwrap();
        let raw =
            sluice_runtime::config::parse::<RawConfig>(&text.replace("URL", file.to_str().unwrap()), "f");
        raw.and_then(Config::check)
    }

    #[test]
    fn a_short_file_is_enough() {
        let config = with_url(GOOD).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.database.claim, 500);
        assert!(config.transactional);
        assert_eq!(config.endpoints[0].on_status.get(&404), Some(&RawOnStatus::None));
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
