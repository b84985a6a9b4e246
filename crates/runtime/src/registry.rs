//! The schema registry: Confluent's API.
//!
//! An answer and an outage are different things. Only the registry's own error codes 40401 to 40403 ("not
//! found") mean that a schema does not exist. Refused credentials and an untrusted certificate are the
//! operator's to mend ([`RegistryError`]). Everything else is an outage and is retried, also a 500 or a 404
//! from a proxy.

mod error;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sluice_core::{Fault, SchemaId, SchemaLookup};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::config::RegistrySection;

pub use error::RegistryError;

/// Time limit of one call. A lane waits that long at most before it reports an outage.
const CALL: Duration = Duration::from_secs(5);
/// Error codes of a missing subject, version or schema. Confluent: "Error code 40401 – Subject not found",
/// "40402 – Version not found", "40403 – Schema not found".
const NOT_FOUND: std::ops::RangeInclusive<u32> = 40401..=40403;

/// Largest answer that is read, in bytes. A lane's memory has a limit.
const LARGEST_ANSWER: usize = 4 << 20;

/// Media type of the API's requests.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// The registry's answer: its status, and its body up to [`LARGEST_ANSWER`].
struct RegistryAnswer {
    status: StatusCode,
    body: Vec<u8>,
}

/// The body of an error.
#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    error_code: u32,
}

/// An answer that holds a schema.
#[derive(Deserialize)]
struct SchemaBody {
    schema: String,
}

/// An answer that holds a schema's id.
#[derive(Deserialize)]
struct SchemaIdBody {
    id: u32,
}

/// The credentials of every call.
enum RegistryLogin {
    None,
    Bearer(Zeroizing<String>),
    Basic(String, Zeroizing<String>),
}

/// A client of the schema registry; cheap to clone.
#[derive(Clone)]
pub struct SchemaRegistry {
    http: reqwest::Client,
    /// Base URL without a slash at its end.
    url: Arc<str>,
    login: Arc<RegistryLogin>,
}

impl SchemaRegistry {
    /// Creates a client for the registry. It makes no call yet.
    ///
    /// # Errors
    /// A [`Fault`] of the user if the section is wrong, or if a secret cannot be read.
    pub fn new(section: &RegistrySection) -> Result<Self, Fault> {
        let doing = "configuring the registry client";
        section.check().map_err(|errors| Fault::user(doing, errors))?;
        let url = section.url.trim_end_matches('/').to_owned();

        // Secrets are read once: a wrong reference is reported at the start.
        let login = match (&section.basic, &section.token) {
            (Some(basic), _) => {
                let password = basic.password.reveal("registry.basic.password");
                let password = password.map_err(|errors| Fault::user(doing, errors))?;
                RegistryLogin::Basic(basic.user.clone(), Zeroizing::new(password))
            }
            (None, Some(token)) => {
                let token = token.reveal("registry.token").map_err(|errors| Fault::user(doing, errors))?;
                RegistryLogin::Bearer(Zeroizing::new(token))
            }
            (None, None) => RegistryLogin::None,
        };

        // An authority of the section's own is trusted beside the usual ones.
        let mut http = reqwest::Client::builder().timeout(CALL);
        if let Some(ca) = &section.ca {
            let pem = ca.reveal("registry.ca").map_err(|errors| Fault::user(doing, errors))?;
            http = http.tls_certs_merge(certificates(&pem).map_err(|errors| Fault::user(doing, errors))?);
        }
        let http = http.build().map_err(|error| Fault::user(doing, error))?;
        Ok(Self { http, url: url.into(), login: Arc::new(login) })
    }

    /// Returns the schema with this id, deleted versions included. `None` if the registry has none.
    ///
    /// # Errors
    /// A [`Fault`] for an outage or refused credentials.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<String>, Fault> {
        // Records may still carry the id of a schema that was deleted in the meantime.
        let request = self.request(Method::GET, &format!("/schemas/ids/{}?deleted=true", id.0));
        let found: Result<Option<SchemaBody>, _> = self.find(request).await;
        found
            .map(|found| found.map(|body| body.schema))
            .map_err(|error| error.fault(format!("asking the registry for schema {id}")))
    }

    /// Returns the id of exactly this schema under `subject`. `None` if it is not registered there.
    ///
    /// # Errors
    /// As [`Self::schema`].
    pub async fn id_of(&self, subject: &str, schema: &str) -> Result<Option<SchemaId>, Fault> {
        // A POST to the subject asks for a schema; only a POST to its versions would register it.
        let request = self.supply(&format!("/subjects/{subject}"), schema);
        let found: Result<Option<SchemaIdBody>, _> = self.find(request).await;
        found
            .map(|found| found.map(|body| SchemaId(body.id)))
            .map_err(|error| error.fault(format!("asking the registry for the id of a schema of {subject}")))
    }

    /// Returns the newest schema of a subject. `None` if the subject does not exist.
    ///
    /// # Errors
    /// As [`Self::schema`].
    pub async fn latest(&self, subject: &str) -> Result<Option<String>, Fault> {
        let request = self.request(Method::GET, &format!("/subjects/{subject}/versions/latest"));
        let found: Result<Option<SchemaBody>, _> = self.find(request).await;
        found
            .map(|found| found.map(|body| body.schema))
            .map_err(|error| error.fault(format!("asking the registry for the newest schema of {subject}")))
    }

    /// Tells whether the registry has no subject at all. The list itself is of no use: some registries cut it
    /// off after some thousand subjects.
    ///
    /// # Errors
    /// As [`Self::schema`].
    pub async fn is_empty(&self) -> Result<bool, Fault> {
        let doing = "asking the registry whether it has subjects";
        // The list is as long as the registry is large: a list beyond the limit has subjects.
        match self.expect::<Vec<String>>(self.request(Method::GET, "/subjects")).await {
            Ok(subjects) => Ok(subjects.is_empty()),
            Err(RegistryError::TooLarge) => Ok(false),
            Err(error) => Err(error.fault(doing)),
        }
    }

    /// Returns the numbers of a subject's versions, ascending. It is empty if the subject does not exist.
    ///
    /// # Errors
    /// As [`Self::schema`].
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, Fault> {
        let request = self.request(Method::GET, &format!("/subjects/{subject}/versions"));
        let found: Result<Option<Vec<u32>>, _> = self.find_by_status(request).await;
        let mut versions = found
            .map_err(|error| error.fault(format!("asking the registry for the versions of {subject}")))?
            .unwrap_or_default();
        // The API promises no order.
        versions.sort_unstable();
        Ok(versions)
    }

    /// Returns the schema of one version. `None` if there is no such version.
    ///
    /// # Errors
    /// As [`Self::schema`].
    pub async fn version(&self, subject: &str, number: u32) -> Result<Option<String>, Fault> {
        let request = self.request(Method::GET, &format!("/subjects/{subject}/versions/{number}"));
        let found: Result<Option<SchemaBody>, _> = self.find(request).await;
        found
            .map(|found| found.map(|body| body.schema))
            .map_err(|error| error.fault(format!("asking the registry for version {number} of {subject}")))
    }

    /// Registers a schema and returns its id. A schema that is registered already keeps its id.
    ///
    /// # Errors
    /// A [`Fault`] of the user if the registry refuses the schema or the credentials, otherwise one of an
    /// outage.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<SchemaId, Fault> {
        // Compatibility is asked for first, so that a refusal is a fault of the user and not an outage. A new
        // subject has no earlier version.
        let doing = || format!("registering a schema for {subject}");
        if self.latest(subject).await?.is_some() && !self.accepts(subject, schema).await? {
            return Err(RegistryError::Incompatible.fault(doing()));
        }

        let request = self.supply(&format!("/subjects/{subject}/versions"), schema);
        let registered: Result<SchemaIdBody, _> = self.expect(request).await;
        registered.map(|body| SchemaId(body.id)).map_err(|error| error.fault(doing()))
    }

    /// Tells whether the registry would accept this schema as the next version of a subject that has a
    /// version.
    ///
    /// # Errors
    /// As [`Self::schema`].
    pub async fn accepts(&self, subject: &str, schema: &str) -> Result<bool, Fault> {
        #[derive(Deserialize)]
        struct CompatibilityBody {
            is_compatible: bool,
        }
        let request = self.supply(&format!("/compatibility/subjects/{subject}/versions/latest"), schema);
        let answered: Result<CompatibilityBody, _> = self.expect(request).await;
        answered
            .map(|body| body.is_compatible)
            .map_err(|error| error.fault(format!("asking the registry whether a schema fits {subject}")))
    }

    /// Returns the subject's own compatibility level. `None` if it follows the registry's level.
    ///
    /// # Errors
    /// As [`Self::schema`].
    pub async fn compatibility(&self, subject: &str) -> Result<Option<String>, Fault> {
        #[derive(Deserialize)]
        struct LevelBody {
            #[serde(rename = "compatibilityLevel")]
            level: Option<String>,
        }
        let request = self.request(Method::GET, &format!("/config/{subject}"));
        let found: Result<Option<LevelBody>, _> = self.find_by_status(request).await;
        found.map(|found| found.and_then(|body| body.level)).map_err(|error| {
            error.fault(format!("asking the registry for the compatibility level of {subject}"))
        })
    }

    /// Sets the subject's compatibility level, for example `FULL_TRANSITIVE`.
    ///
    /// # Errors
    /// A [`Fault`] for an outage or a refusal.
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), Fault> {
        let request = self.request(Method::PUT, &format!("/config/{subject}"));
        let request = with_body(request, &json!({"compatibility": level}));
        // The answer only repeats the level, so its status is enough.
        let answered = self.send(request).await.and_then(|answer| match answer.status.is_success() {
            true => Ok(()),
            false => Err(unexpected(&answer)),
        });
        answered.map_err(|error| error.fault(format!("setting the compatibility level of {subject}")))
    }

    /// Checks that the registry answers.
    ///
    /// # Errors
    /// A [`Fault`] if it does not.
    pub async fn ping(&self) -> Result<(), Fault> {
        let answered = match self.send(self.request(Method::GET, "/subjects")).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            // A list beyond the limit is an answer: a registry may have thousands of subjects.
            Err(RegistryError::TooLarge) => Ok(()),
            // Every registry has this resource, so the path in front of it is wrong.
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => {
                Err(RegistryError::WrongPath { url: self.shown_url() })
            }
            Ok(answer) => Err(unexpected(&answer)),
            Err(error) => Err(error),
        };
        answered.map_err(|error| error.fault("asking the registry for its subjects"))
    }

    /// Starts a request with the credentials, if there are any.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &*self.login {
            RegistryLogin::None => request,
            RegistryLogin::Bearer(token) => request.bearer_auth(token.as_str()),
            RegistryLogin::Basic(user, password) => request.basic_auth(user, Some(password.as_str())),
        }
    }

    /// Starts a request that supplies an Avro schema.
    fn supply(&self, path: &str, schema: &str) -> RequestBuilder {
        with_body(self.request(Method::POST, path), &json!({"schemaType": "AVRO", "schema": schema}))
    }

    /// Sends a request and parses the answer. `None` if the registry's own code says that subject, version or
    /// schema does not exist.
    async fn find<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Option<T>, RegistryError> {
        let answer = self.send(request).await?;
        match answer.status.is_success() {
            true => parse(&answer).map(Some),
            // The one way to learn that something does not exist.
            false if NOT_FOUND.contains(&error_code(&answer)) => Ok(None),
            false => Err(unexpected(&answer)),
        }
    }

    /// Sends a request and parses the answer. `None` for status 404, whatever code it has. Only operators'
    /// commands ask in this way.
    async fn find_by_status<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<Option<T>, RegistryError> {
        let answer = self.send(request).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => parse(&answer).map(Some),
            _ => Err(unexpected(&answer)),
        }
    }

    /// Sends a request whose answer is expected to be a success, and parses it.
    async fn expect<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, RegistryError> {
        let answer = self.send(request).await?;
        if answer.status.is_success() { parse(&answer) } else { Err(unexpected(&answer)) }
    }

    /// Sends a request and reads its answer, up to the limit.
    async fn send(&self, request: RequestBuilder) -> Result<RegistryAnswer, RegistryError> {
        let failed = |error: reqwest::Error| RegistryError::of(error, self.shown_url());
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(RegistryError::Credentials { url: self.shown_url(), status: status.as_u16() });
        }

        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if body.len() + part.len() > LARGEST_ANSWER {
                return Err(RegistryError::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        Ok(RegistryAnswer { status, body })
    }

    /// Returns the URL for messages: it may hold a password.
    fn shown_url(&self) -> String {
        let Ok(mut url) = reqwest::Url::parse(&self.url) else { return "registry.url".to_owned() };
        // Both fail only for a URL that cannot have them.
        let _ = url.set_password(None);
        let _ = url.set_username("");
        url.to_string()
    }
}

/// Reads certificates in PEM.
///
/// # Errors
/// Fails if there is none, or if one is broken.
fn certificates(pem: &str) -> Result<Vec<reqwest::Certificate>, crate::config::ConfigErrors> {
    let wrong = |why: String| crate::config::ConfigErrors::one("registry.ca", why, None);
    let found = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
        .map_err(|error| wrong(format!("expected PEM certificates: {error}")))?;
    if found.is_empty() {
        return Err(wrong("expected at least one PEM certificate".to_owned()));
    }
    Ok(found)
}

/// Adds a JSON body to a request.
fn with_body(request: RequestBuilder, body: &serde_json::Value) -> RequestBuilder {
    request.header(reqwest::header::CONTENT_TYPE, MEDIA_TYPE).body(body.to_string())
}

/// Parses a successful answer.
fn parse<T: DeserializeOwned>(answer: &RegistryAnswer) -> Result<T, RegistryError> {
    // A page of a proxy is no answer of a registry.
    serde_json::from_slice(&answer.body)
        .map_err(|_| RegistryError::NotARegistry { status: answer.status.as_u16() })
}

/// Returns the registry's own code of an error, 0 without one.
fn error_code(answer: &RegistryAnswer) -> u32 {
    serde_json::from_slice::<ErrorBody>(&answer.body).unwrap_or_default().error_code
}

/// Turns an answer that is no success into an error.
fn unexpected(answer: &RegistryAnswer) -> RegistryError {
    let (status, code) = (answer.status.as_u16(), error_code(answer));
    match code {
        // 409 for an incompatible schema and 422xx, for example 42201, for an invalid one.
        409 => RegistryError::Incompatible,
        422 | 42_200..42_300 => RegistryError::SchemaRefused { code },
        _ => RegistryError::Unexpected { status, code },
    }
}

/// The registry for a lane: its calls block. They must not be made on a thread of tokio.
#[derive(Clone)]
pub struct BlockingRegistry {
    registry: SchemaRegistry,
    handle: Handle,
}

impl BlockingRegistry {
    /// Creates a blocking client. Calls run on `handle`'s runtime, and the caller waits.
    pub fn new(registry: SchemaRegistry, handle: Handle) -> Self {
        Self { registry, handle }
    }

    /// Does the same as [`SchemaRegistry::schema`].
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub fn schema(&self, id: SchemaId) -> Result<Option<String>, Fault> {
        self.handle.block_on(self.registry.schema(id))
    }
}

impl SchemaLookup for BlockingRegistry {
    fn id_of(&mut self, subject: &str, schema: &str) -> Result<Option<SchemaId>, Fault> {
        self.handle.block_on(self.registry.id_of(subject, schema))
    }
}
