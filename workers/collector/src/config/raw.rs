//! The configuration file as an operator writes it. The JSON schema for editors is derived from these types,
//! and the doc comments are its descriptions.

mod auth;
mod rate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_runtime::config::{AdminSection, KafkaSection, MemorySize, RegistrySection, SecretReference};

pub use auth::{RawAuth, RawBasicAuth, RawHmacSignature, RawKeyHeader, RawOauthClient, RawSignatureFormat};
pub use rate::{RawCollectorLimits, RawHoldScope, RawKeyLimit, RawRate};

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
    /// enrolled.
    // `where` is a keyword of Rust.
    #[serde(default, rename = "where")]
    pub condition: Option<String>,
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
    /// Seconds after which a done id is due again. If it is left out, an id is collected once.
    #[serde(default)]
    pub every_seconds: Option<u64>,
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
    pub total_at: Option<String>,
    /// Path in a page to its records, for example `data` or `result.items`; empty for the page itself. The
    /// records are an array, or one object.
    #[serde(default)]
    pub record_path: String,
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
    pub at: String,
    /// Value of `{since}` in an id's first run. If it is left out, parameters that need it are left out too.
    #[serde(default)]
    pub start: Option<String>,
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

/// The way from one page to the next.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RawPagination {
    /// There is only one page.
    #[default]
    None,
    /// The page holds the URL of the next one. If it is null, empty or missing, the page is the last.
    NextUrl {
        /// Path to the URL in the page, for example `meta.next`.
        at: String,
    },
    /// The `Link` header holds the URL of the next page (RFC 8288, rel="next").
    LinkHeader {},
    /// Pages are numbered. The first page without records is the last, or the one whose `more_at` is false.
    Page {
        /// Query parameter that takes the number; `page` by default.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the path in the POST body that takes it, for example `page.after`.
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
        /// Number of the first page; 1 by default.
        #[serde(default = "one")]
        first: u64,
        /// Path to a boolean in the page that tells whether more pages follow, for example `meta.has_more`.
        #[serde(default)]
        more_at: Option<String>,
    },
    /// Pages begin at a number of records. The first page without records is the last, or the one whose
    /// `more_at` is false.
    Offset {
        /// Query parameter that takes the number of records; `offset` by default.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the path in the POST body that takes it, for example `page.after`.
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
        /// Path to a boolean in the page that tells whether more pages follow.
        #[serde(default)]
        more_at: Option<String>,
    },
    /// The page holds a token for the next one. If it is null, empty or missing, the page is the last.
    Cursor {
        /// Path to the token in the page, for example `meta.cursor`.
        at: String,
        /// Query parameter that takes the token; `cursor` by default.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the path in the POST body that takes it, for example `page.after`.
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
    },
    /// A response header holds a token for the next page. If it is empty or missing, the page is the last.
    TokenHeader {
        /// Name of the response header.
        header: String,
        /// Query parameter that takes the token; `cursor` by default.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the path in the POST body that takes it, for example `page.after`.
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
    },
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
    /// A Retry-After of more seconds than this gives the id back until then.
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

const fn one() -> u64 {
    1
}
