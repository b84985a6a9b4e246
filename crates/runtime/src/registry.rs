//! The schema registry: Confluent's API, over `schema_registry_converter`.
//!
//! An answer and an outage are different things: only the registry's own error code 40403 ("schema not found") says
//! that an id does not exist; everything else, a 500 or a 404 from some proxy included, is an outage and is retried.

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

const CALL: Duration = Duration::from_secs(5);
/// Confluent: "Error code 40401 – Subject not found", "40402 – Version not found", "40403 – Schema not found".
const NOT_FOUND: std::ops::RangeInclusive<u32> = 40401..=40403;

/// The largest answer that is read when a schema is asked for, in bytes.
const LARGEST_SCHEMA: usize = 4 << 20;

/// What a registry answers to a question for an id: a schema, or an error code of its own.
#[derive(serde::Deserialize)]
struct SchemaIdAnswer {
    schema: Option<String>,
    error_code: Option<u32>,
}

/// The registry; cheap to clone.
#[derive(Clone)]
pub struct SchemaRegistry {
    settings: Arc<SrSettings>,
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl SchemaRegistry {
    /// A client for the registry; no call is made yet.
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

    /// The schema with this id; `None` if the registry says that there is none.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<String>, Fault> {
        let outage = |error: BoxError| Fault::outage(format!("asking the registry for schema {id}"), error);
        let mut request = self.http.get(format!("{}/schemas/ids/{}?deleted=true", self.url, id.0));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        // Not by the converter: it reads whatever comes, and a lane has a ceiling.
        let mut answer = request.send().await.map_err(|error| outage(error.without_url().into()))?;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| outage(error.without_url().into()))? {
            if body.len() + part.len() > LARGEST_SCHEMA {
                return Err(outage("an answer of more than 4 MiB is no schema".into()));
            }
            body.extend_from_slice(&part);
        }
        let status = answer.status();
        let body: SchemaIdAnswer = serde_json::from_slice(&body).map_err(|_| {
            outage(format!("the answer ({status}) is not what a schema registry answers").into())
        })?;
        match body {
            SchemaIdAnswer { schema: Some(schema), .. } if status.is_success() => Ok(Some(schema)),
            SchemaIdAnswer { error_code: Some(code), .. } if NOT_FOUND.contains(&code) => Ok(None),
            SchemaIdAnswer { error_code, .. } => {
                Err(outage(format!("{status}, error code {}", error_code.unwrap_or_default()).into()))
            }
        }
    }

    /// The id of exactly this schema under `subject`; `None` if it is not registered there.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn id_of(&self, subject: &str, schema: &str) -> Result<Option<SchemaId>, Fault> {
        let body = serde_json::json!({"schemaType": "AVRO", "schema": schema}).to_string();
        match perform_sr_call(&self.settings, SrCall::PostForVersion(subject, &body)).await {
            Ok(found) => Ok(found.id.map(SchemaId)),
            Err(error) if says_not_found(&error) => Ok(None),
            Err(error) => Err(Fault::outage(format!("looking a schema up under {subject}"), error)),
        }
    }

    /// The newest schema of a subject; `None` if the subject does not exist.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn latest(&self, subject: &str) -> Result<Option<String>, Fault> {
        match perform_sr_call(&self.settings, SrCall::GetLatest(subject)).await {
            Ok(found) => Ok(found.schema),
            Err(error) if says_not_found(&error) => Ok(None),
            Err(error) => Err(Fault::outage(format!("asking the registry for {subject}"), error)),
        }
    }

    /// Has it no subject at all? Which subjects there are cannot be asked: lists are cut off at some thousand by some
    /// registries.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn is_empty(&self) -> Result<bool, Fault> {
        let doing = "asking the registry whether it has subjects";
        let some: Vec<String> = self.json("/subjects").await.map_err(|error| Fault::outage(doing, error))?;
        Ok(some.is_empty())
    }

    /// Numbers of a subject's versions, ascending; none if the subject does not exist.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, Fault> {
        match self.json::<Vec<u32>>(&format!("/subjects/{subject}/versions")).await {
            Ok(mut versions) => {
                versions.sort_unstable();
                Ok(versions)
            }
            Err(error) if error.status() == Some(reqwest::StatusCode::NOT_FOUND) => Ok(Vec::new()),
            Err(error) => Err(Fault::outage(format!("asking for the versions of {subject}"), error)),
        }
    }

    /// The schema of one version; `None` if there is no such version.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn version(&self, subject: &str, number: u32) -> Result<Option<String>, Fault> {
        match perform_sr_call(&self.settings, SrCall::GetBySubjectAndVersion(subject, number)).await {
            Ok(found) => Ok(found.schema),
            Err(error) if says_not_found(&error) => Ok(None),
            Err(error) => Err(Fault::outage(format!("asking for version {number} of {subject}"), error)),
        }
    }

    /// Registers a schema; the id it has if it is there already.
    ///
    /// # Errors
    /// A [`Fault`] of the user if the registry refuses it as incompatible, otherwise of an outage.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<SchemaId, Fault> {
        if self.latest(subject).await?.is_some() && !self.accepts(subject, schema).await? {
            let why = "the registry refuses it as incompatible with an earlier version";
            return Err(Fault::user(format!("registering a schema for {subject}"), why));
        }
        post_schema(&self.settings, subject.to_owned(), supplied(schema))
            .await
            .map(|registered| SchemaId(registered.id))
            .map_err(|error| {
                let doing = format!("registering a schema for {subject}");
                if is_refused(&error) { Fault::user(doing, error) } else { Fault::outage(doing, error) }
            })
    }

    /// Would the registry take this schema as the next version of a subject that has one?
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn accepts(&self, subject: &str, schema: &str) -> Result<bool, Fault> {
        is_compatible_schema(&self.settings, subject.to_owned(), supplied(schema))
            .await
            .map_err(|error| Fault::outage(format!("trying a schema for {subject}"), error))
    }

    /// The subject's own compatibility level; `None` if it follows the registry's.
    ///
    /// # Errors
    /// A [`Fault`] for an outage.
    pub async fn compatibility(&self, subject: &str) -> Result<Option<String>, Fault> {
        let doing = || format!("asking for the compatibility level of {subject}");
        let outage = |error: reqwest::Error| Fault::outage(doing(), error.without_url());
        let answer = self.call(reqwest::Method::GET, subject).send().await.map_err(outage)?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body: serde_json::Value =
            answer.error_for_status().map_err(outage)?.json().await.map_err(outage)?;
        Ok(body.get("compatibilityLevel").and_then(|level| level.as_str()).map(str::to_owned))
    }

    /// Sets the subject's compatibility level (`FULL_TRANSITIVE`, …).
    ///
    /// # Errors
    /// A [`Fault`] for an outage or a refusal.
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), Fault> {
        let doing = || format!("setting the compatibility level of {subject}");
        let outage = |error: reqwest::Error| Fault::outage(doing(), error.without_url());
        let body = serde_json::json!({"compatibility": level});
        self.call(reqwest::Method::PUT, subject)
            .json(&body)
            .send()
            .await
            .map_err(outage)?
            .error_for_status()
            .map_err(outage)?;
        Ok(())
    }

    /// Does the registry answer?
    ///
    /// # Errors
    /// A [`Fault`] if it does not.
    pub async fn ping(&self) -> Result<(), Fault> {
        let outage = |error: reqwest::Error| Fault::outage("asking the registry", error.without_url());
        let mut request = self.http.get(format!("{}/subjects", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.send().await.map_err(outage)?.error_for_status().map_err(outage)?;
        Ok(())
    }

    fn call(&self, method: reqwest::Method, subject: &str) -> reqwest::RequestBuilder {
        self.request(method, &format!("/config/{subject}"))
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, reqwest::Error> {
        let answer = self.request(reqwest::Method::GET, path).send().await;
        let answer =
            answer.and_then(reqwest::Response::error_for_status).map_err(reqwest::Error::without_url)?;
        answer.json().await.map_err(reqwest::Error::without_url)
    }
}

fn supplied(schema: &str) -> SuppliedSchema {
    SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned())
}

fn says_not_found(error: &SRCError) -> bool {
    code(error).is_some_and(|code| NOT_FOUND.contains(&code))
}

/// The registry has looked at the schema and will not have it: 42201 and the like, or 409.
fn is_refused(error: &SRCError) -> bool {
    code(error).is_some_and(|code| code == 409 || code == 422 || (42_200..42_300).contains(&code))
}

/// The registry's own code for an error, if it gave one.
fn code(error: &SRCError) -> Option<u32> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(raw) = inner.downcast_ref::<RawError>() {
            return Some(raw.error_code);
        }
        source = inner.source();
    }
    None
}

/// The registry as a lane sees it: blocking, from a thread that is not tokio's.
#[derive(Clone)]
pub struct BlockingRegistry {
    registry: SchemaRegistry,
    handle: Handle,
}

impl BlockingRegistry {
    /// Calls run on `handle`'s runtime; the caller waits.
    pub fn new(registry: SchemaRegistry, handle: Handle) -> Self {
        Self { registry, handle }
    }

    /// As [`SchemaRegistry::schema`].
    ///
    /// # Errors
    /// As there.
    pub fn schema(&self, id: SchemaId) -> Result<Option<String>, Fault> {
        self.handle.block_on(self.registry.schema(id))
    }
}

impl SchemaLookup for BlockingRegistry {
    fn id_of(&mut self, subject: &str, schema: &str) -> Result<Option<SchemaId>, Fault> {
        self.handle.block_on(self.registry.id_of(subject, schema))
    }
}
