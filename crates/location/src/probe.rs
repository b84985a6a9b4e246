//! Proves that a location refuses to create an object that exists.

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use sluice_core::Fault;
use uuid::Uuid;

use crate::fault::of_object_store;

/// The folder of the probe's objects.
const PROBE_FOLDER: &str = ".sluice-probe";

/// The content of a probe's object. A person who finds one learns its purpose.
const PROBE_CONTENT: &str =
    "Sluicegate tried whether this location refuses to create an object that exists.\n";

/// Creates the object `.sluice-probe/<uuid>` twice and expects that the second attempt is refused. Removes the
/// object afterwards. An object that may not be removed stays, with a warning: a bucket that forbids removal is
/// a good place for an archive.
///
/// # Errors
/// Fails with a [`Fault`] of the operator if the location accepts the second attempt: two writers could then
/// overwrite each other's objects, and no store could keep its promise. Fails with the fault of the request if
/// the location does not answer or refuses the credentials.
pub async fn probe(store: &dyn ObjectStore) -> Result<(), Fault> {
    let doing = || format!("probing the location {store}");
    let path = Path::from(format!("{PROBE_FOLDER}/{}", Uuid::new_v4()));
    let create = || {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&path, PROBE_CONTENT.into(), options)
    };

    // No other process has this name, so the first attempt succeeds wherever the worker may write.
    create().await.map_err(|error| of_object_store(doing(), error))?;
    let second = create().await;

    // The object has served, with either result of the second attempt.
    if let Err(error) = store.delete(&path).await {
        tracing::warn!(%path, %error, "the probe's object cannot be removed and stays");
    }
    match second {
        Err(Error::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(of_object_store(doing(), error)),
        Ok(_) => Err(Fault::user(
            doing(),
            "it replaces an object that exists instead of refusing to create it, so it cannot hold a store: \
             expected a location with conditional create (If-None-Match on S3, generation match on GCS)",
        )),
    }
}
