//! Options of a location: endpoint, region and credentials.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_config::{ConfigErrors, SecretReference};

use crate::address::{Location, LocationAddress};

/// Options of a location. A local folder takes none.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LocationOptions {
    /// Base URL of the service, for example `http://minio:9000`. Left out: AWS or Google Cloud.
    pub endpoint: Option<String>,
    /// Region of an S3 bucket. Left out: `AWS_REGION` of the environment, or `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket is a part of the path (`https://host/bucket/…`) or of the host
    /// (`https://bucket.host/…`). Only S3 knows both. Left out: of the path. With `false`, an `endpoint` names
    /// the bucket's own host.
    pub path_style: Option<bool>,
    /// Access key id for S3, by reference. Left out, with `secret_key`: the credentials of the environment or
    /// of the machine.
    pub access_key: Option<SecretReference>,
    /// Secret access key for S3, by reference.
    pub secret_key: Option<SecretReference>,
    /// File with the key of a Google service account. Left out: the application's default credentials.
    pub service_account: Option<PathBuf>,
}

impl Location {
    /// Returns the location with options. `path` is the setting that holds them, for example
    /// `stores[0].archive.options`.
    ///
    /// # Errors
    /// Fails with every option that does not fit the kind of the location, and with half a pair of keys.
    pub fn with_options(self, path: &str, options: LocationOptions) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();

        // Each option with the kinds that know it. An option without effect is a mistake of the operator.
        let s3 = matches!(self.address, LocationAddress::S3 { .. });
        let gs = matches!(self.address, LocationAddress::Gs { .. });
        for (name, given, known, kinds) in [
            ("endpoint", options.endpoint.is_some(), s3 || gs, "s3:// and gs://"),
            ("region", options.region.is_some(), s3, "s3://"),
            ("path_style", options.path_style.is_some(), s3, "s3://"),
            ("access_key", options.access_key.is_some(), s3, "s3://"),
            ("secret_key", options.secret_key.is_some(), s3, "s3://"),
            ("service_account", options.service_account.is_some(), gs, "gs://"),
        ] {
            if given && !known {
                let message = format!("has no effect on {self}: expected only with {kinds}");
                errors.add(format!("{path}.{name}"), message, Some("leave it out".into()));
            }
        }

        // One key alone would fail at the first request, far from the file.
        if options.access_key.is_some() != options.secret_key.is_some() {
            let missing = if options.access_key.is_some() { "secret_key" } else { "access_key" };
            let hint = "give both keys, or none to use the credentials of the environment".to_owned();
            errors.add(format!("{path}.{missing}"), "is missing beside the other key", Some(hint));
        }

        // The endpoint is the base of every URL. The client would report a mistake only with its first request.
        let is_http = |text: &String| text.starts_with("http://") || text.starts_with("https://");
        if options.endpoint.as_ref().is_some_and(|endpoint| !is_http(endpoint)) {
            let hint = "for example `http://minio:9000`".to_owned();
            errors.add(format!("{path}.endpoint"), "expected an http:// or https:// URL", Some(hint));
        }
        errors.or(Self { options, ..self })
    }
}
