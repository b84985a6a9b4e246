//! The configuration file as an operator writes it. The JSON schema for editors is derived from these types,
//! and the doc comments are its descriptions.

mod auth;
mod body;
mod pagination;
mod rate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_runtime::config::{AdminSection, KafkaSection, MemorySize, RegistrySection, SecretReference};

pub use auth::{RawAuth, RawBasicAuth, RawHmacSignature, RawKeyHeader, RawOauthClient, RawSignatureFormat};
pub use body::{RawCondition, RawConditionAction, RawPath};
pub use pagination::RawPagination;
pub use rate::{RawCollectorLimits, RawHoldScope, RawKeyLimit, RawRate, RawRateHeader, RawRateUnit};

/// A collector job.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCollectorConfig {
    /// Name of the job: a part of its claims' rows and of its checkpoint topic. All replicas of a job share
    /// it.
    pub job: String,
    /// Prefix of the transactional ids.
    pub group: String,
    /// Name of this replica, unique among the running replicas. If it is left out, it is made from host name,
    /// process id and a random number.
    #[serde(default)]
    pub instance: Option<String>,
    /// `transactional`: each page arrives once for read_committed readers. `idempotent`: a page arrives twice
    /// at most if a process was stopped while it sent the page, provided that the worker may read its topics;
    /// otherwise one page of each id in work arrives twice per crash.
    #[serde(default)]
    pub mode: RawPublishMode,
    /// Kafka.
    pub kafka: KafkaSection,
    /// The schema registry.
    pub registry: RegistrySection,
    /// Folder of the contracts.
    pub schemas: PathBuf,
    /// Address of the admin pages.
    #[serde(default)]
    pub admin: AdminSection,
    /// Memory of this process, from which buffers are derived.
    #[serde(default = "memory")]
    pub memory: MemorySize,
    /// The table of ids.
    pub database: RawDatabase,
    /// The API.
    pub api: RawApi,
    /// Resources that are requested for every id, in this order.
    pub endpoints: Vec<RawEndpoint>,
    /// Rate of the requests, and bounds of the work.
    #[serde(default)]
    pub rate: Option<RawRate>,
    /// Limits at which the worker stops by itself, as in every worker. A collector uses `drain_seconds` only.
    #[serde(default)]
    pub limits: RawCollectorLimits,
    /// Rules after a failed request.
    #[serde(default)]
    pub retry: RawRetry,
}

/// The way of pages to Kafka.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawPublishMode {
    /// Page and page checkpoint are one Kafka transaction.
    #[default]
    Transactional,
    /// First the page and its acknowledgement, then a fenced page checkpoint in the database.
    Idempotent,
}

/// The table of ids. It is only read; claims are in the table `sluice_claims` beside it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDatabase {
    /// `mysql://`, `mariadb://` or `postgres://` URL, by reference: {env: NAME} or {file: path}.
    pub url: SecretReference,
    /// Table (or schema.table) of the ids.
    pub table: String,
    /// Column of the ids in this table.
    pub id_column: String,
    /// SQL condition on the table's columns, for example `active = 1`. Ids that do not meet it are not
    /// collected, also those that met it before.
    // `where` is a keyword of Rust.
    #[serde(default, rename = "where")]
    pub condition: Option<String>,
    /// Text form of ids in a column of bytes: `uuid` (16 bytes in the order of the digits), `hex`, or `text` if the
    /// bytes are text. A column of bytes needs it.
    #[serde(default)]
    pub id_format: Option<RawIdFormat>,
    /// Secret of the ids' pseudonyms, by reference. With it, dead letters name the pseudonym of an id (HMAC-SHA-256)
    /// and not the id.
    #[serde(default)]
    pub id_pseudonym: Option<SecretReference>,
    /// Column of times (date, datetime, timestamp; without a zone in UTC). An id is due when its time has
    /// come, and again whenever the column names another time; null is never. If it is left out, an id is due
    /// when it is first seen.
    #[serde(default)]
    pub due_column: Option<String>,
    /// Column of whole numbers. Ids with a higher number are claimed first; null is 0. The column is read
    /// once a minute.
    #[serde(default)]
    pub priority_column: Option<String>,
    /// Ids that are claimed at once.
    #[serde(default = "claim")]
    pub claim: u32,
    /// Seconds for which a claim is valid without a heartbeat.
    #[serde(default = "lease_seconds")]
    pub lease_seconds: u64,
    /// Attempts after which an id that got no page further is dead.
    #[serde(default = "attempts")]
    pub attempts: u32,
    /// Seconds after which a done id is due again, counted from when it was due. If it is left out, an id is
    /// collected once.
    #[serde(default)]
    pub every_seconds: Option<u64>,
    /// Seconds after which a dead id is due again, from its first page. If it is left out, `every_seconds`; without
    /// that, only `sluice collector retry` makes it due.
    #[serde(default)]
    pub dead_again_seconds: Option<u64>,
    /// Number of ids after which a run ends. If it is left out, a run with `--once` ends when what was due at its
    /// start is done.
    #[serde(default)]
    pub ids_per_run: Option<u64>,
    /// Connections to the database at most.
    #[serde(default = "connections")]
    pub connections: u32,
    /// Whether the worker may create `sluice_claims`.
    #[serde(default = "yes")]
    pub migrate: bool,
}

/// The API.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawApi {
    /// Scheme, host, port and a common path, for example `https://api.example.org/v2`.
    pub base_url: String,
    /// Credentials. They go to the base URL's own origin only: redirects and next pages elsewhere do not get
    /// them.
    #[serde(default)]
    pub auth: Option<RawAuth>,
    /// Further headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Further origins that get the credentials and headers too, for example `https://api-2.example.org`, if next
    /// pages or redirects lead there.
    #[serde(default)]
    pub trusted_origins: Vec<String>,
    /// Seconds within which a connection must be established.
    #[serde(default = "connect_timeout_seconds")]
    pub connect_timeout_seconds: u64,
    /// Seconds within which an answer must begin, and between any two pieces of it.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
    /// Seconds for a whole answer of any size.
    #[serde(default = "longest_answer_seconds")]
    pub longest_answer_seconds: u64,
    /// Largest page after decompression. Pages are read as they arrive, so a large bound costs no memory.
    #[serde(default = "max_page")]
    pub max_page: MemorySize,
    /// Largest record, in bytes of JSON, that is kept in memory. A larger one becomes a dead letter without
    /// its bytes.
    #[serde(default = "max_record")]
    pub max_record: MemorySize,
}

/// One resource that is requested for every id.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawEndpoint {
    /// Name, unique in the job.
    pub name: String,
    /// Path below the base URL, for example `/v1/aircraft/{id}/flights`. `{id}` is replaced by the id
    /// (percent-encoded).
    pub path: String,
    /// `get`, or `post` with a `body`.
    #[serde(default)]
    pub method: RawMethod,
    /// Query parameters of every request. Values may hold `{id}` and `{since}`. A parameter with `{since}` is
    /// left out of an id's first run.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Further headers of every request. Values may hold `{id}` and `{since}`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// JSON body of a POST. Texts in it may hold `{id}` and `{since}`.
    #[serde(default)]
    pub body: Option<serde_json::Value>,
    /// The way from one page to the next.
    #[serde(default)]
    pub pagination: RawPagination,
    /// Path in a page to the number of all records, for example `meta.total`. A change while pages are read
    /// is noticed.
    #[serde(default)]
    pub total_at: Option<RawPath>,
    /// Path in a page to its records, for example `data`, `result.items`, `edges[*].node`; empty for the page itself.
    /// The records are an array, or one object. A page without the path has no records; a run in which no page has
    /// it ends with 1.
    #[serde(default)]
    pub record_path: RawPath,
    /// Fields of the record with a text for where the API leaves them out, for example `{customer_id: "{id}",
    /// origin: crm}`.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Conditions on the body of an answer with a good status. The first one that holds decides.
    #[serde(default)]
    pub when: Vec<RawCondition>,
    /// Requests only the records that are new since an id's last complete run.
    #[serde(default)]
    pub incremental: Option<RawIncrementalField>,
    /// Topic of the contract that the records follow, for example `aviation.flight.v1`.
    pub topic: String,
    /// Meaning of an HTTP status here: none (no records, go on), dead (the id is dead), retry.
    #[serde(default)]
    pub on_status: BTreeMap<String, RawStatusRule>,
}

/// A field whose value grows from record to record, for example a time of change or a number.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawIncrementalField {
    /// Path to the field in a record, for example `updated_at`.
    pub at: RawPath,
    /// Value of `{since}` in an id's first run. If it is left out, parameters that need it are left out too.
    #[serde(default)]
    pub start: Option<String>,
    /// Whether a time beyond the present counts. Without it, a record with a wrong time (9999-12-31) does not keep
    /// later runs from asking.
    #[serde(default)]
    pub future: bool,
}

/// The text form of ids in a column of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawIdFormat {
    /// The bytes are text.
    Text,
    /// 16 bytes are a uuid; other lengths are hexadecimal digits.
    Uuid,
    /// Hexadecimal digits.
    Hex,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawMethod {
    /// The request consists of path, query and headers.
    #[default]
    Get,
    /// The request has a JSON body.
    Post,
}

/// The meaning of an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawStatusRule {
    /// There are no records; the endpoint is complete for this id.
    None,
    /// The id is dead.
    Dead,
    /// The request is repeated.
    Retry,
}

/// Rules after a failed request.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRetry {
    /// Requests per page at most. Then the id is given back for later.
    pub attempts: u32,
    /// Upper bound of the first wait in milliseconds. It doubles each time, with full jitter.
    pub base_ms: u64,
    /// Upper bound of every wait in milliseconds.
    pub cap_ms: u64,
    /// A wait of more seconds than this, if the API asks for one, gives the id back until then. It is no attempt.
    pub longest_wait_seconds: u64,
    /// Retries per hundred requests at most, over the whole process.
    pub budget_percent: u32,
}

impl Default for RawRetry {
    fn default() -> Self {
        // The waits between six attempts are at most 0.2, 0.4, 0.8, 1.6 and 3.2 seconds, together 6.2.
        Self { attempts: 6, base_ms: 200, cap_ms: 30_000, longest_wait_seconds: 120, budget_percent: 50 }
    }
}

// The defaults of single keys.

fn memory() -> MemorySize {
    MemorySize::mib(64)
}

const fn claim() -> u32 {
    500
}

const fn lease_seconds() -> u64 {
    // Heartbeats go out every third of it.
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
    // Half an hour: a page of 2 GiB at 1.2 MB/s.
    1_800
}

fn max_page() -> MemorySize {
    // 2 GiB. The bound is against answers that unpack without an end.
    MemorySize::mib(2 << 10)
}

fn max_record() -> MemorySize {
    // The same as Kafka's default bound of a message (`message.max.bytes`).
    MemorySize::mib(1)
}
