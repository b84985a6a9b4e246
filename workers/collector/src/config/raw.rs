//! What an operator writes. The JSON schema for editors is derived from these types.

mod auth;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_runtime::config::{AdminSection, KafkaSection, MemorySize, RegistrySection, SecretReference};

pub use auth::{RawAuth, RawBasicAuth, RawHmacSignature, RawKeyHeader, RawOauthClient, RawSignatureFormat};

/// A collector job.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCollectorConfig {
    /// Name of the job: part of its claims' rows and of its checkpoint topic. All replicas of a job share it.
    pub job: String,
    /// Prefix of the transactional ids.
    pub group: String,
    /// Name of this replica, unique among those that run; left out, it is made from host name, process id and a random number.
    #[serde(default)]
    pub instance: Option<String>,
    /// `transactional` (each page once for read_committed readers) or `idempotent` (a page twice at most where a process
    /// was stopped while it sent it, if the worker may read its topics; otherwise one of each id in work per crash).
    #[serde(default)]
    pub mode: RawPublishMode,
    /// Kafka.
    pub kafka: KafkaSection,
    /// The schema registry.
    pub registry: RegistrySection,
    /// Folder of the contracts.
    pub schemas: PathBuf,
    /// Where the admin pages listen.
    #[serde(default)]
    pub admin: AdminSection,
    /// Memory of this process, from which buffers are derived.
    #[serde(default = "memory")]
    pub memory: MemorySize,
    /// The table of ids.
    pub database: RawDatabase,
    /// The API.
    pub api: RawApi,
    /// What is asked for every id, in this order.
    pub endpoints: Vec<RawEndpoint>,
    /// Politeness.
    #[serde(default)]
    pub limits: RawLimits,
    /// What happens after a failed request.
    #[serde(default)]
    pub retry: RawRetry,
}

/// How pages get to Kafka.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawPublishMode {
    /// Page and checkpoint in one Kafka transaction.
    #[default]
    Transactional,
    /// Page, its acknowledgement, then a fenced checkpoint in the database.
    Idempotent,
}

/// The table of ids, only read; claims live in the table `sluice_claims` beside it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDatabase {
    /// `mysql://`, `mariadb://` or `postgres://` URL, by reference: {env: NAME} or {file: path}.
    pub url: SecretReference,
    /// Table (or schema.table) of the ids.
    pub table: String,
    /// Its id column.
    pub id_column: String,
    /// SQL condition on the table's columns; ids that do not meet it are not enrolled.
    #[serde(default, rename = "where")]
    pub condition: Option<String>,
    /// Column of times (date, datetime, timestamp; without a zone in UTC): an id is due when its time has come, and again
    /// whenever the column says another one; null is never. Left out, an id is due when it is first seen.
    #[serde(default)]
    pub due_column: Option<String>,
    /// Column of whole numbers: ids with a higher one are taken first; null is 0. Looked at once a minute.
    #[serde(default)]
    pub priority_column: Option<String>,
    /// Ids taken at once.
    #[serde(default = "claim")]
    pub claim: u32,
    /// How long a claim lasts without a heartbeat.
    #[serde(default = "lease_seconds")]
    pub lease_seconds: u64,
    /// An id that got no page further in so many attempts is dead.
    #[serde(default = "attempts")]
    pub attempts: u32,
    /// A done id is due again after so many seconds; left out, it is collected once.
    #[serde(default)]
    pub every_seconds: Option<u64>,
    /// Connections at most.
    #[serde(default = "connections")]
    pub connections: u32,
    /// May the worker create `sluice_claims`?
    #[serde(default = "yes")]
    pub migrate: bool,
}

/// The API.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawApi {
    /// Scheme, host, port and a common path.
    pub base_url: String,
    /// Credentials; they go to the base URL's own origin only, redirects and next pages elsewhere do not get them.
    #[serde(default)]
    pub auth: Option<RawAuth>,
    /// Further headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Seconds until a connection must stand.
    #[serde(default = "connect_timeout_seconds")]
    pub connect_timeout_seconds: u64,
    /// Seconds until an answer begins, and between any two pieces of it.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
    /// Seconds for a whole answer, however large.
    #[serde(default = "longest_answer_seconds")]
    pub longest_answer_seconds: u64,
    /// Largest page after decompression. Pages are read as they arrive: this costs no memory.
    #[serde(default = "max_page")]
    pub max_page: MemorySize,
    /// Largest record, in bytes of JSON, that is kept in memory; a larger one becomes a dead letter without its bytes.
    #[serde(default = "max_record")]
    pub max_record: MemorySize,
}

/// One resource that is asked for every id.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawEndpoint {
    /// Name, unique in the job.
    pub name: String,
    /// Path below the base URL, `{id}` stands for the id (percent-encoded): /v1/aircraft/{id}/flights
    pub path: String,
    /// `get`, or `post` with a `body`.
    #[serde(default)]
    pub method: RawMethod,
    /// Query parameters of every request; values may hold `{id}` and `{since}`. One with `{since}` is left out of an
    /// id's first run.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Further headers of every request; values may hold `{id}` and `{since}`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// JSON body of a POST; texts in it may hold `{id}` and `{since}`.
    #[serde(default)]
    pub body: Option<serde_json::Value>,
    /// How pages follow one another.
    #[serde(default)]
    pub pagination: RawPagination,
    /// Where a page says how many records there are in all; a change while pages are read is noticed: `meta.total`
    #[serde(default)]
    pub total_at: Option<String>,
    /// Where the records stand in a page (`data`, `result.items`; empty for the page itself): an array, or one object.
    #[serde(default)]
    pub record_path: String,
    /// Ask only for what is new since an id's last complete run.
    #[serde(default)]
    pub incremental: Option<RawIncrementalField>,
    /// Topic of the contract that the records follow.
    pub topic: String,
    /// What an HTTP status means here: none (no records, go on), dead (the id is dead), retry.
    #[serde(default)]
    pub on_status: BTreeMap<String, RawStatusRule>,
}

/// Goes by a value that grows from record to record: a time of change, a number.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawIncrementalField {
    /// Where it stands in a record: `updated_at`
    pub at: String,
    /// What `{since}` is in an id's first run; left out, parameters that need it are left out too.
    #[serde(default)]
    pub start: Option<String>,
}

/// How a page is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawMethod {
    /// Everything stands in path and query.
    #[default]
    Get,
    /// With a JSON body.
    Post,
}

/// How pages follow one another.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RawPagination {
    /// One page.
    #[default]
    None,
    /// The page holds the next one's URL; null, empty or missing ends.
    NextUrl {
        /// Where it stands: `meta.next`
        at: String,
    },
    /// The next page's URL stands in the `Link` header (RFC 8288, rel="next").
    LinkHeader {},
    /// A page number; ends with the first page without records, or when `more_at` is false.
    Page {
        /// The query parameter that takes it: `page`, if nothing is said.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the place in the POST body that takes it: `page.after`
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
        /// Number of the first page.
        #[serde(default = "one")]
        first: u64,
        /// Where the page says whether there are more: `meta.has_more`
        #[serde(default)]
        more_at: Option<String>,
    },
    /// A record offset; ends with the first page without records, or when `more_at` is false.
    Offset {
        /// The query parameter that takes it: `offset`, if nothing is said.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the place in the POST body that takes it: `page.after`
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
        /// Where the page says whether there are more.
        #[serde(default)]
        more_at: Option<String>,
    },
    /// The page holds a token for the next one; null, empty or missing ends.
    Cursor {
        /// Where it stands: `meta.cursor`
        at: String,
        /// The query parameter that takes it: `cursor`, if nothing is said.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the place in the POST body that takes it: `page.after`
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
    },
    /// A response header holds a token for the next page; empty or missing ends.
    TokenHeader {
        /// Its name.
        header: String,
        /// The query parameter that takes it: `cursor`, if nothing is said.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the place in the POST body that takes it: `page.after`
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
    },
}

/// What an HTTP status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawStatusRule {
    /// No records; the endpoint is complete for this id.
    None,
    /// The id is dead.
    Dead,
    /// Ask again.
    Retry,
}

/// Politeness.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    /// Requests per second at most, over all replicas and all jobs in this database that ask the same host: in no
    /// second more than this (rounded down), whatever the replicas do. Below 1: one request every so often.
    pub requests_per_second: Option<f64>,
    /// A second limit, shared by everyone who names the same key, whichever host is asked.
    pub key: Option<RawKeyLimit>,
    /// Ids that are worked on at once.
    pub concurrency: usize,
    /// Whom a Retry-After holds back: every request of this process (host), or only the one that was told.
    pub retry_after: RawHoldScope,
    /// Pages of one endpoint and id at most; more is taken for an API that never ends.
    pub max_pages: u64,
}

/// What one API key may do.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawKeyLimit {
    /// A name for the key; never the key itself, it stands in the database.
    pub name: String,
    /// Requests per second at most, over everyone who uses it.
    pub requests_per_second: f64,
}

/// Whom a Retry-After holds back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawHoldScope {
    /// Every request of this process, and of all that share its limit.
    #[default]
    Host,
    /// Only the one that was told.
    Request,
}

/// What happens after a failed request.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRetry {
    /// Requests per page at most; then the id is given back for later.
    pub attempts: u32,
    /// Upper bound of the first wait; doubles each time, with full jitter.
    pub base_ms: u64,
    /// Upper bound of every wait.
    pub cap_ms: u64,
    /// A Retry-After beyond this gives the id back until then.
    pub longest_wait_seconds: u64,
    /// Retries per hundred requests at most, over the whole process.
    pub budget_percent: u32,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            key: None,
            concurrency: 32,
            retry_after: RawHoldScope::default(),
            max_pages: 100_000,
        }
    }
}

impl Default for RawRetry {
    fn default() -> Self {
        Self { attempts: 6, base_ms: 200, cap_ms: 30_000, longest_wait_seconds: 120, budget_percent: 50 }
    }
}

fn memory() -> MemorySize {
    MemorySize::mib(64)
}

const fn claim() -> u32 {
    500
}

const fn lease_seconds() -> u64 {
    60
}

const fn attempts() -> u32 {
    5
}

const fn connections() -> u32 {
    8
}

const fn yes() -> bool {
    true
}

const fn connect_timeout_seconds() -> u64 {
    10
}

const fn timeout_seconds() -> u64 {
    60
}

const fn longest_answer_seconds() -> u64 {
    1_800
}

fn max_page() -> MemorySize {
    MemorySize::mib(2 << 10)
}

fn max_record() -> MemorySize {
    MemorySize::mib(1)
}

const fn one() -> u64 {
    1
}
