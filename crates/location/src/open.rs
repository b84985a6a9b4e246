//! Opens a location as an object store.

use std::path::Path;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore};
use sluice_config::SecretReference;
use sluice_core::Fault;

use crate::address::{Location, LocationAddress};

impl Location {
    /// Opens the location. Creates a local folder if it does not exist. Reads the keys that the options refer
    /// to. Makes no request: a bucket that cannot be reached fails at the first use, or at
    /// [`probe`](crate::probe()).
    ///
    /// # Errors
    /// Fails with a [`Fault`] of the operator if the folder cannot be created or opened, if a secret cannot be
    /// read, or if the options do not make a client.
    pub fn open(&self) -> Result<Arc<dyn ObjectStore>, Fault> {
        match &self.address {
            LocationAddress::Local(folder) => self.open_folder(folder),
            LocationAddress::S3 { bucket, prefix } => self.open_s3(bucket, prefix),
            LocationAddress::Gs { bucket, prefix } => self.open_gs(bucket, prefix),
        }
    }

    /// Opens a folder. `object_store` writes a file beside its name and links it, so that creating a file that
    /// exists fails. It does not call fsync, and offers no option for it.
    fn open_folder(&self, folder: &Path) -> Result<Arc<dyn ObjectStore>, Fault> {
        std::fs::create_dir_all(folder).map_err(|error| Fault::user(self.opening(), error))?;
        let store = LocalFileSystem::new_with_prefix(folder)
            .map_err(|error| Fault::user(self.opening(), error))?
            // Removing the last file of a folder also removes the folder, as in a bucket.
            .with_automatic_cleanup(true);
        Ok(Arc::new(store))
    }

    /// Opens a bucket of S3. `If-None-Match: *` makes a put fail if the object exists.
    fn open_s3(&self, bucket: &str, prefix: &str) -> Result<Arc<dyn ObjectStore>, Fault> {
        let options = &self.options;

        // Keys of the options go before those of the environment. Without either, the client asks the machine.
        let mut builder = match (&options.access_key, &options.secret_key) {
            (Some(access), Some(secret)) => AmazonS3Builder::new()
                .with_access_key_id(self.reveal("access_key", access)?)
                .with_secret_access_key(self.reveal("secret_key", secret)?),
            _ => AmazonS3Builder::from_env(),
        };

        // Set behind the environment, which must not switch conditional puts off.
        builder = builder
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_virtual_hosted_style_request(options.path_style == Some(false));
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }

        let store = builder.build().map_err(|error| self.refused(error))?;
        Ok(below(store, prefix))
    }

    /// Opens a bucket of Google Cloud Storage. A put with `x-goog-if-generation-match: 0`, which the client
    /// sends for a create, fails if the object exists.
    fn open_gs(&self, bucket: &str, prefix: &str) -> Result<Arc<dyn ObjectStore>, Fault> {
        let options = &self.options;

        // The file of the options goes before the environment's.
        let mut builder = match &options.service_account {
            Some(file) => {
                let key = std::fs::read_to_string(file).map_err(|error| {
                    Fault::user(format!("reading the service account's file {}", file.display()), error)
                })?;
                GoogleCloudStorageBuilder::new().with_service_account_key(key)
            }
            None => GoogleCloudStorageBuilder::from_env(),
        };
        builder = builder.with_bucket_name(bucket);
        if let Some(endpoint) = &options.endpoint {
            let client = ClientOptions::new().with_allow_http(endpoint.starts_with("http://"));
            builder = builder.with_base_url(endpoint.trim_end_matches('/')).with_client_options(client);
        }

        let store = builder.build().map_err(|error| self.refused(error))?;
        Ok(below(store, prefix))
    }

    /// Reads a secret of the options.
    fn reveal(&self, option: &str, secret: &SecretReference) -> Result<String, Fault> {
        secret.reveal(option).map_err(|errors| Fault::user(self.opening(), errors))
    }

    /// Returns the fault of a client that could not be made. No request was sent, so only the operator can
    /// mend it, whatever the kind of the error.
    fn refused(&self, error: object_store::Error) -> Fault {
        Fault::user(self.opening(), error)
    }

    /// Returns the operation, for messages.
    fn opening(&self) -> String {
        format!("opening the location {self}")
    }
}

/// Returns the part of a store below a prefix, or all of it if the prefix is empty.
fn below<S: ObjectStore>(store: S, prefix: &str) -> Arc<dyn ObjectStore> {
    if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) }
}
