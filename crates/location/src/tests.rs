//! The texts of locations, and the probe on a folder, in memory, and over S3's and GCS's protocols.

mod stand_in;

use std::fmt;
use std::sync::Arc;

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use sluice_config::SecretReference;
use sluice_core::{Domain, Fault, Retry};

use crate::{Location, LocationAddress, LocationError, LocationOptions, probe};
use stand_in::{BucketRequest, BucketServer};

/// An object store that ignores the condition of a put, as S3's doubles often do.
#[derive(Debug)]
struct CarelessStore(InMemory);

impl fmt::Display for CarelessStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CarelessStore")
    }
}

#[async_trait::async_trait]
impl ObjectStore for CarelessStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.0.put_opts(path, payload, PutOptions { mode: PutMode::Overwrite, ..options }).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

/// Returns the fault of a probe that must fail because the location accepts every create.
async fn refused(store: Arc<dyn ObjectStore>) -> Fault {
    let fault = probe(store.as_ref()).await.expect_err("a location that overwrites was accepted");
    assert_eq!((fault.domain, fault.retry), (Domain::User, Retry::Never), "{fault}");
    assert!(fault.to_string().contains("replaces an object that exists"), "{fault}");
    fault
}

#[test]
fn every_text_is_one_location_or_a_plain_refusal() {
    let local = |folder: &str| Ok(LocationAddress::Local(folder.into()));
    let s3 =
        |bucket: &str, prefix: &str| Ok(LocationAddress::S3 { bucket: bucket.into(), prefix: prefix.into() });
    let gs =
        |bucket: &str, prefix: &str| Ok(LocationAddress::Gs { bucket: bucket.into(), prefix: prefix.into() });
    let unknown = |scheme: &str| Err(LocationError::UnknownScheme { scheme: scheme.into() });
    let no_slashes = |scheme: &str| Err(LocationError::NoSlashes { scheme: scheme.into() });
    let bucket = |bucket: &str| Err(LocationError::InvalidBucket { bucket: bucket.into() });
    let prefix = |prefix: &str| Err(LocationError::InvalidPrefix { prefix: prefix.into() });

    for (text, expected) in [
        // Paths. A colon behind a slash belongs to a name.
        ("/data/archive", local("/data/archive")),
        ("archive", local("archive")),
        ("./s3:x", local("./s3:x")),
        ("../lake/a:b", local("../lake/a:b")),
        ("file:///data/a%20b", local("/data/a b")),
        ("FILE:///data", local("/data")),
        ("file://localhost/data", local("/data")),
        // Buckets.
        ("s3://bucket", s3("bucket", "")),
        ("s3://bucket/", s3("bucket", "")),
        ("s3://bucket/a/b", s3("bucket", "a/b")),
        ("S3://bucket/a/b/", s3("bucket", "a/b")),
        ("gs://my.bucket_1/lake", gs("my.bucket_1", "lake")),
        // Refusals.
        ("", Err(LocationError::Empty)),
        ("  ", Err(LocationError::Empty)),
        ("s3a://bucket/a", unknown("s3a")),
        ("HDFS://host/a", unknown("hdfs")),
        ("https://bucket.s3.amazonaws.com/a", unknown("https")),
        ("a:b", unknown("a")),
        ("s3:bucket/a", no_slashes("s3")),
        ("s3:/bucket/a", no_slashes("s3")),
        ("file:/data", no_slashes("file")),
        ("file://host/data", Err(LocationError::NotAFile)),
        ("s3:///a", bucket("")),
        ("s3://Bucket/a", bucket("Bucket")),
        ("gs://user@bucket/a", bucket("user@bucket")),
        ("s3://bucket//a", prefix("/a")),
        ("s3://bucket/a//b", prefix("a//b")),
        ("s3://bucket/../b", prefix("../b")),
        ("s3://bucket/a?versionId=1", prefix("a?versionId=1")),
    ] {
        assert_eq!(text.parse::<LocationAddress>(), expected, "{text}");
    }

    // The refusal names the forms that are possible.
    let message = "hdfs://host/a".parse::<Location>().unwrap_err().to_string();
    for form in ["`hdfs`", "a local path", "file://", "s3://", "gs://"] {
        assert!(message.contains(form), "{form}: {message}");
    }
}

#[test]
fn a_location_is_shown_as_it_is_written() {
    for text in ["/data/archive", "s3://bucket", "s3://bucket/a/b", "gs://bucket/a"] {
        assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
    }
    let location = Location::local("/data");
    assert_eq!(location.local_folder(), Some("/data".as_ref()));
    assert_eq!("gs://bucket".parse::<Location>().unwrap().local_folder(), None);
}

#[test]
fn options_without_effect_are_refused_together() {
    let secret = || Some(SecretReference::Env("KEY".into()));
    let all = || LocationOptions {
        endpoint: Some("minio:9000".into()),
        region: Some("eu-central-1".into()),
        path_style: Some(true),
        access_key: secret(),
        secret_key: None,
        service_account: Some("account.json".into()),
    };
    for (text, expected) in [
        (
            "/data",
            &["endpoint", "region", "path_style", "access_key", "service_account", "secret_key", "endpoint"]
                [..],
        ),
        ("s3://bucket", &["service_account", "secret_key", "endpoint"]),
        ("gs://bucket", &["region", "path_style", "access_key", "secret_key", "endpoint"]),
    ] {
        let errors = text.parse::<Location>().unwrap().with_options("options", all()).unwrap_err();
        let paths: Vec<_> = errors.0.iter().map(|error| error.path.replace("options.", "")).collect();
        assert_eq!(paths, expected, "{text}: {errors}");
    }
    let sound = LocationOptions { access_key: secret(), secret_key: secret(), ..LocationOptions::default() };
    "s3://bucket".parse::<Location>().unwrap().with_options("options", sound).unwrap();
}

#[tokio::test]
async fn a_folder_is_made_and_refuses_to_create_a_file_that_exists() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a/b");
    let store = Location::local(&folder).open().unwrap();
    probe(store.as_ref()).await.unwrap();

    // The probe leaves nothing behind, and the folder serves.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    store.put(&Path::from("topic/object"), "content".into()).await.unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("topic/object")).unwrap(), "content");

    // A file in the place of the folder is for the operator to mend.
    let fault = Location::local(folder.join("topic/object")).open().err().unwrap();
    assert_eq!((fault.domain, fault.retry), (Domain::User, Retry::Never), "{fault}");
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_refused() {
    probe(&InMemory::new()).await.unwrap();
    refused(Arc::new(CarelessStore(InMemory::new()))).await;
}

/// Returns a bucket's location at a stand-in, with credentials from files.
fn at(server: &BucketServer, text: &str, secrets: &std::path::Path) -> Location {
    let file = |name: &str, content: &str| {
        let path = secrets.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let mut options = LocationOptions { endpoint: Some(server.url()), ..LocationOptions::default() };
    if text.starts_with("s3:") {
        let key = file("key", "hunter2\n").display().to_string();
        options.access_key = Some(SecretReference::File(key.clone()));
        options.secret_key = Some(SecretReference::File(key));
        options.region = Some("eu-central-1".into());
    } else {
        let account = r#"{"private_key":"","private_key_id":"","client_email":"","disable_oauth":true}"#;
        options.service_account = Some(file("account.json", account));
    }
    text.parse::<Location>().unwrap().with_options("options", options).unwrap()
}

#[tokio::test]
async fn a_bucket_that_obeys_the_condition_passes_and_one_that_ignores_it_is_refused() {
    let secrets = tempfile::tempdir().unwrap();
    for text in ["s3://bucket/pre/fix", "gs://bucket/pre/fix"] {
        // Every request is for the object below the prefix: created, refused, removed.
        let strict = BucketServer::start(true);
        let store = at(&strict, text, secrets.path()).open().unwrap();
        probe(store.as_ref()).await.unwrap_or_else(|fault| panic!("{text}: {fault}"));
        let requests = strict.requests();
        let below = |request: &BucketRequest| request.path.starts_with("/bucket/pre/fix/.sluice-probe/");
        assert!(requests.iter().all(below), "{text}: {requests:?}");
        let outcomes: Vec<_> = requests.iter().map(|request| request.outcome).collect();
        assert_eq!(outcomes, ["created", "refused", "removed"], "{text}");

        // The negative control.
        let careless = BucketServer::start(false);
        let fault = refused(at(&careless, text, secrets.path()).open().unwrap()).await;
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
        let outcomes: Vec<_> = careless.requests().iter().map(|request| request.outcome).collect();
        assert_eq!(outcomes, ["created", "replaced", "removed"], "{text}");
    }
}

#[test]
fn a_secret_that_cannot_be_read_is_named_and_not_quoted() {
    let missing = || Some(SecretReference::File("/no/such/key".into()));
    let options =
        LocationOptions { access_key: missing(), secret_key: missing(), ..LocationOptions::default() };
    let location = "s3://bucket".parse::<Location>().unwrap().with_options("options", options).unwrap();
    let fault = location.open().err().unwrap();
    assert_eq!((fault.domain, fault.retry), (Domain::User, Retry::Never));
    assert!(fault.to_string().contains("/no/such/key"), "{fault}");
}
