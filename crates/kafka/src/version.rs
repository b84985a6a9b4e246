//! The version of the client library and the features that it was built with.

use rdkafka::ClientConfig;
use rdkafka::util::get_rdkafka_version;

/// librdkafka as it is linked into this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientVersion {
    /// Its version, for example `2.12.1`.
    pub version: String,
    /// The features that it was built with (`builtin.features`), for example `sasl_oauthbearer`. Sorted.
    pub features: Vec<String>,
}

/// Returns the version and the features of librdkafka.
pub fn client_version() -> ClientVersion {
    // The features are the default of a property. A library without the property has none to name.
    let config = ClientConfig::new().create_native_config();
    let features = config.and_then(|config| config.get("builtin.features")).unwrap_or_default();
    let named = |name: &str| (!name.is_empty()).then(|| name.trim().to_owned());
    let mut features: Vec<String> = features.split(',').filter_map(named).collect();
    features.sort();
    ClientVersion { version: get_rdkafka_version().1, features }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn librdkafka_says_its_version_and_its_features() {
        let client = client_version();
        assert!(client.version.starts_with("2."), "{client:?}");
        assert!(client.features.iter().any(|feature| feature == "ssl"), "{client:?}");
    }
}
