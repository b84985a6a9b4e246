//! The schema registry: Confluent's API, over `schema_registry_converter`.
//!
//! An answer and an outage are different things. Only the registry's own error codes 40401 to 40403 ("not
//! found") mean that a schema does not exist. Everything else is an outage and is retried, also a 500 or a
//! 404 from a proxy.

use std::sync::Arc;
use std::time::Duration;

use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, is_compatible_schema, perform_sr_call, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SrCall, SuppliedSchema};
use sluice_core::{BoxError, Fault, SchemaId, SchemaLookup};
use tokio::runtime::Handle;

use crate::config::RegistrySection;

/// Time limit of one call. A lane waits that long at most before it reports an outage.
const CALL: Duration = Duration::from_secs(5);
/// Error codes of a missing subject, version or schema. Confluent: "Error code 40401 – Subject not found",
/// "40402 – Version not found", "40403 – Schema not found".
const NOT_FOUND: std::ops::RangeInclusive<u32> = 40401..=40403;

/// Largest answer with a schema that is read, in bytes.
const LARGEST_SCHEMA: usize = 4 << 20;

/// The answer to a request for a schema id: a schema, or the registry's error code.
#[derive(serde::Deserialize)]
struct SchemaIdAnswer {
    schema: Option<String>,
    error_code: Option<u32>,
}

/// A client of the schema registry; cheap to clone.
#[derive(Clone)]
pub struct SchemaRegistry {
    settings: Arc<SrSettings>,
    /// For the calls that `schema_registry_converter` lacks, or makes without a limit of size.
    http: reqwest::Client,
    /// Base URL without a slash at its end.
    url: String,
    token: Option<String>,
}

impl SchemaRegistry {
    /// Creates a client for the registry. It makes no call yet.
    ///
    /// # Errors
    /// A [`Fault`] of the user if the URL or the token reference is wrong.
    pub fn new(section: &RegistrySection) -> Result<Self, Fault> {
        let doing = "configuring the registry client";
        let url = section.url.trim_end_matches('/').to_owned();
        let token = section
            .token
            .as_ref()
            .map(|token| token.reveal("registry.token"))
            .transpose()
            .map_err(|e| Fault::user(doing, e))?;

        // Two clients with the same URL, token and time limit.
        let mut builder = SrSettings::new_builder(url.clone());
        builder.set_timeout(CALL);
        if let Some(token) = &token {
            builder.set_token_authorization(token);
        }
        let settings = builder.build().map_err(|error| Fault::user(doing, error))?;
        let http =
            reqwest::Client::builder().timeout(CALL).build().map_err(|error| Fault::user(doing, error))?;
        Ok(Self { settings: Arc::new(settings), http, url, token })
    }

    /// Returns the schema with this id, deleted versions included. `None` if the registry has none.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<String>, Fault> {
        let outage = |error: BoxError| Fault::outage(format!("asking the registry for schema {id}"), error);
        // Records may still carry the id of a schema that was deleted in the meantime.
        let mut request = self.http.get(format!("{}/schemas/ids/{}?deleted=true", self.url, id.0));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }

        // The converter would read an answer of any size, and a lane's memory has a limit.
        let mut answer = request.send().await.map_err(|error| outage(error.without_url().into()))?;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| outage(error.without_url().into()))? {
            if body.len() + part.len() > LARGEST_SCHEMA {
                return Err(outage("the answer is too large; expected at most 4 MiB for a schema".into()));
            }
            body.extend_from_slice(&part);
        }

        // A page of a proxy is no answer of a registry: the id may exist.
        let status = answer.status();
        let body: SchemaIdAnswer = serde_json::from_slice(&body)
            .map_err(|_| outage(format!("{status}; expected a schema registry's answer").into()))?;
        match body {
            SchemaIdAnswer { schema: Some(schema), .. } if status.is_success() => Ok(Some(schema)),
            // The one way to learn that an id does not exist.
            SchemaIdAnswer { error_code: Some(code), .. } if NOT_FOUND.contains(&code) => Ok(None),
            // Code 0 is shown for an answer without a code.
            SchemaIdAnswer { error_code, .. } => {
                let code = error_code.unwrap_or_default();
                Err(outage(format!("{status}, error code {code}; expected a schema").into()))
            }
        }
    }

    /// Returns the id of exactly this schema under `subject`. `None` if it is not registered there.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn id_of(&self, subject: &str, schema: &str) -> Result<Option<SchemaId>, Fault> {
        // A POST to the subject asks for a schema; only a POST to its versions would register it.
        let body = serde_json::json!({"schemaType": "AVRO", "schema": schema}).to_string();
        match perform_sr_call(&self.settings, SrCall::PostForVersion(subject, &body)).await {
            Ok(found) => Ok(found.id.map(SchemaId)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => {
                Err(Fault::outage(format!("asking the registry for the id of a schema of {subject}"), error))
            }
        }
    }

    /// Returns the newest schema of a subject. `None` if the subject does not exist.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn latest(&self, subject: &str) -> Result<Option<String>, Fault> {
        match perform_sr_call(&self.settings, SrCall::GetLatest(subject)).await {
            Ok(found) => Ok(found.schema),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => {
                Err(Fault::outage(format!("asking the registry for the newest schema of {subject}"), error))
            }
        }
    }

    /// Tells whether the registry has no subject at all. The list itself is of no use: some registries cut it
    /// off after some thousand subjects.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn is_empty(&self) -> Result<bool, Fault> {
        let doing = "asking the registry whether it has subjects";
        let subjects: Vec<String> =
            self.json("/subjects").await.map_err(|error| Fault::outage(doing, error))?;
        Ok(subjects.is_empty())
    }

    /// Returns the numbers of a subject's versions, ascending. It is empty if the subject does not exist.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, Fault> {
        match self.json::<Vec<u32>>(&format!("/subjects/{subject}/versions")).await {
            Ok(mut versions) => {
                // The API promises no order.
                versions.sort_unstable();
                Ok(versions)
            }
            // A missing subject has no versions. Only operators' commands ask here, so a status of 404 is
            // enough.
            Err(error) if error.status() == Some(reqwest::StatusCode::NOT_FOUND) => Ok(Vec::new()),
            Err(error) => {
                Err(Fault::outage(format!("asking the registry for the versions of {subject}"), error))
            }
        }
    }

    /// Returns the schema of one version. `None` if there is no such version.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn version(&self, subject: &str, number: u32) -> Result<Option<String>, Fault> {
        match perform_sr_call(&self.settings, SrCall::GetBySubjectAndVersion(subject, number)).await {
            Ok(found) => Ok(found.schema),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => {
                Err(Fault::outage(format!("asking the registry for version {number} of {subject}"), error))
            }
        }
    }

    /// Registers a schema and returns its id. A schema that is registered already keeps its id.
    ///
    /// # Errors
    /// A [`Fault`] of the user if the registry refuses the schema as incompatible, otherwise one of an
    /// outage.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<SchemaId, Fault> {
        // Compatibility is asked for first, so that a refusal is a fault of the user and not an outage. A new
        // subject has no earlier version.
        if self.latest(subject).await?.is_some() && !self.accepts(subject, schema).await? {
            let why = "the registry refuses the schema as incompatible with an earlier version";
            return Err(Fault::user(format!("registering a schema for {subject}"), why));
        }

        // A refusal for another reason, for example invalid Avro, is the user's too.
        post_schema(&self.settings, subject.to_owned(), supplied(schema))
            .await
            .map(|registered| SchemaId(registered.id))
            .map_err(|error| {
                let doing = format!("registering a schema for {subject}");
                if is_refused(&error) { Fault::user(doing, error) } else { Fault::outage(doing, error) }
            })
    }

    /// Tells whether the registry would accept this schema as the next version of a subject that has a
    /// version.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn accepts(&self, subject: &str, schema: &str) -> Result<bool, Fault> {
        is_compatible_schema(&self.settings, subject.to_owned(), supplied(schema)).await.map_err(|error| {
            Fault::outage(format!("asking the registry whether a schema fits {subject}"), error)
        })
    }

    /// Returns the subject's own compatibility level. `None` if it follows the registry's level.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn compatibility(&self, subject: &str) -> Result<Option<String>, Fault> {
        let doing = || format!("asking the registry for the compatibility level of {subject}");
        let outage = |error: reqwest::Error| Fault::outage(doing(), error.without_url());
        let answer = self.call(reqwest::Method::GET, subject).send().await.map_err(outage)?;
        // 404 means that the subject has no level of its own.
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body: serde_json::Value =
            answer.error_for_status().map_err(outage)?.json().await.map_err(outage)?;
        Ok(body.get("compatibilityLevel").and_then(|level| level.as_str()).map(str::to_owned))
    }

    /// Sets the subject's compatibility level, for example `FULL_TRANSITIVE`.
    ///
    /// # Errors
    /// A [`Fault`] for an outage or a refusal.
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), Fault> {
        let doing = || format!("setting the compatibility level of {subject}");
        let outage = |error: reqwest::Error| Fault::outage(doing(), error.without_url());
        let body = serde_json::json!({"compatibility": level});
        // The answer only repeats the level, so its status is enough.
        self.call(reqwest::Method::PUT, subject)
            .json(&body)
            .send()
            .await
            .map_err(outage)?
            .error_for_status()
            .map_err(outage)?;
        Ok(())
    }

    /// Checks that the registry answers.
    ///
    /// # Errors
    /// A [`Fault`] if it does not.
    pub async fn ping(&self) -> Result<(), Fault> {
        let outage = |error: reqwest::Error| {
            Fault::outage("asking the registry for its subjects", error.without_url())
        };
        // The answer's body is not read: a registry may have thousands of subjects.
        let mut request = self.http.get(format!("{}/subjects", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.send().await.map_err(outage)?.error_for_status().map_err(outage)?;
        Ok(())
    }

    /// Starts a request about the subject's configuration.
    fn call(&self, method: reqwest::Method, subject: &str) -> reqwest::RequestBuilder {
        self.request(method, &format!("/config/{subject}"))
    }

    /// Starts a request with the token, if there is one.
    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Gets `path` and parses the answer.
    ///
    /// # Errors
    /// Fails with the call's error, without the URL: it may hold a password.
    async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, reqwest::Error> {
        let answer = self.request(reqwest::Method::GET, path).send().await;
        let answer =
            answer.and_then(reqwest::Response::error_for_status).map_err(reqwest::Error::without_url)?;
        answer.json().await.map_err(reqwest::Error::without_url)
    }
}

/// Wraps an Avro schema for the converter.
fn supplied(schema: &str) -> SuppliedSchema {
    SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned())
}

/// Tells whether the registry has answered that subject, version or schema does not exist.
fn is_not_found(error: &SRCError) -> bool {
    error_code_of(error).is_some_and(|code| NOT_FOUND.contains(&code))
}

/// Tells whether the registry has refused the schema itself. Its codes are 409 for an incompatible schema and
/// 422xx, for example 42201, for an invalid one.
fn is_refused(error: &SRCError) -> bool {
    error_code_of(error).is_some_and(|code| code == 409 || code == 422 || (42_200..42_300).contains(&code))
}

/// Returns the registry's own code for an error, if there is one.
fn error_code_of(error: &SRCError) -> Option<u32> {
    // The converter wraps the answer, so its code is somewhere in the chain of sources.
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(raw) = inner.downcast_ref::<RawError>() {
            return Some(raw.error_code);
        }
        source = inner.source();
    }
    None
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
