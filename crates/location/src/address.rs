//! The text of a location, for example `s3://bucket/prefix`, and its parts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use object_store::path::Path as ObjectPath;
use thiserror::Error;
use url::Url;

use crate::options::LocationOptions;

/// A folder, or a part of a bucket, that holds the files of a store.
///
/// A location is parsed from a text. Its options are added with [`Location::with_options`].
#[derive(Debug, Clone)]
pub struct Location {
    pub(crate) address: LocationAddress,
    pub(crate) options: LocationOptions,
}

/// The parts of a location's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocationAddress {
    /// A folder of this machine, absolute or relative to the working folder.
    Local(PathBuf),
    /// A bucket of S3, and the prefix of the objects in it. The prefix is empty for the whole bucket.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// Prefix of all names, without a slash at either end.
        prefix: String,
    },
    /// A bucket of Google Cloud Storage, and the prefix of the objects in it.
    Gs {
        /// Name of the bucket.
        bucket: String,
        /// Prefix of all names, without a slash at either end.
        prefix: String,
    },
}

/// A text that is not a location. Only the operator can mend it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LocationError {
    /// The text is empty.
    #[error("the location is empty: expected {FORMS}")]
    Empty,
    /// The text begins with a scheme that this program does not know.
    #[error(
        "the scheme `{scheme}` is unknown: expected {FORMS}; for a folder of such a name write `./{scheme}:…`"
    )]
    UnknownScheme {
        /// The scheme, in small letters and without its colon.
        scheme: String,
    },
    /// The scheme is known, but `//` does not follow it.
    #[error("`{scheme}:` without `//`: expected {FORMS}")]
    NoSlashes {
        /// The scheme, in small letters and without its colon.
        scheme: String,
    },
    /// A `file` URL names a host, or its path is not absolute.
    #[error(
        "a file location names no host and has an absolute path: expected for example file:///data/archive"
    )]
    NotAFile,
    /// The name of the bucket is missing, or has letters that no bucket's name has.
    #[error("`{bucket}` is not a bucket's name: expected 3 to 222 of a-z, 0-9, `-`, `_` and `.`")]
    InvalidBucket {
        /// The text in the place of the bucket's name.
        bucket: String,
    },
    /// The prefix has an empty part, or a part `.` or `..`.
    #[error("`{prefix}` is not a prefix: expected parts between single slashes, none of them `.` or `..`")]
    InvalidPrefix {
        /// The text in the place of the prefix.
        prefix: String,
    },
}

/// The forms of a location, for messages.
const FORMS: &str = "a local path, file://…, s3://<bucket>/<prefix> or gs://<bucket>/<prefix>";

impl Location {
    /// Returns the location of a local folder. The path is taken as it is, also if it looks like a URL.
    pub fn local(folder: impl Into<PathBuf>) -> Self {
        Self { address: LocationAddress::Local(folder.into()), options: LocationOptions::default() }
    }

    /// Returns the parts of the location's text.
    pub fn address(&self) -> &LocationAddress {
        &self.address
    }

    /// Returns the folder of a local location, and `None` for a bucket.
    pub fn local_folder(&self) -> Option<&Path> {
        match &self.address {
            LocationAddress::Local(folder) => Some(folder),
            LocationAddress::S3 { .. } | LocationAddress::Gs { .. } => None,
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        Ok(Self { address: text.parse()?, options: LocationOptions::default() })
    }
}

impl FromStr for LocationAddress {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if text.trim().is_empty() {
            return Err(LocationError::Empty);
        }

        // Without a scheme the text is a path. A colon behind a slash belongs to a folder's name.
        let Some((scheme, rest)) = split_scheme(text) else { return Ok(Self::Local(text.into())) };
        if !["file", "s3", "gs"].contains(&scheme.as_str()) {
            return Err(LocationError::UnknownScheme { scheme });
        }
        let Some(rest) = rest.strip_prefix("//") else { return Err(LocationError::NoSlashes { scheme }) };

        // A file URL may hold escapes, such as %20, which the URL's own rules resolve.
        if scheme == "file" {
            let url = Url::parse(text).map_err(|_| LocationError::NotAFile)?;
            return url.to_file_path().map(Self::Local).map_err(|()| LocationError::NotAFile);
        }

        // The bucket ends at the first slash. A slash at the end of the prefix has no meaning.
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket = check_bucket(bucket)?;
        let prefix = check_prefix(prefix)?;
        Ok(if scheme == "s3" { Self::S3 { bucket, prefix } } else { Self::Gs { bucket, prefix } })
    }
}

/// Returns a text's scheme in small letters and the rest behind its colon, by the rule of RFC 3986, 3.1.
fn split_scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let legal = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    (begins && legal).then(|| (scheme.to_ascii_lowercase(), rest))
}

/// Checks a bucket's name. S3 allows 63 letters, GCS up to 222 with dots and underscores; the service itself
/// knows the finer rules.
fn check_bucket(bucket: &str) -> Result<String, LocationError> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if (3..=222).contains(&bucket.len()) && bucket.chars().all(legal) {
        return Ok(bucket.to_owned());
    }
    Err(LocationError::InvalidBucket { bucket: bucket.to_owned() })
}

/// Checks a prefix, and removes a slash at its end.
fn check_prefix(prefix: &str) -> Result<String, LocationError> {
    let invalid = || LocationError::InvalidPrefix { prefix: prefix.to_owned() };
    let trimmed = prefix.strip_suffix('/').unwrap_or(prefix);
    // `parse` ignores a slash in front. Here it would be a second one behind the bucket, which is a mistake.
    if trimmed.starts_with('/') || trimmed.contains(['?', '#']) {
        return Err(invalid());
    }
    ObjectPath::parse(trimmed).map(|path| path.to_string()).map_err(|_| invalid())
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options stay out: a log line names the location only.
        self.address.fmt(f)
    }
}

impl fmt::Display for LocationAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, bucket, prefix) = match self {
            Self::Local(folder) => return folder.display().fmt(f),
            Self::S3 { bucket, prefix } => ("s3", bucket, prefix),
            Self::Gs { bucket, prefix } => ("gs", bucket, prefix),
        };
        write!(f, "{scheme}://{bucket}")?;
        if prefix.is_empty() { Ok(()) } else { write!(f, "/{prefix}") }
    }
}
