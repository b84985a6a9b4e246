//! The mistakes of a server's certificate, in an operator's words.

use std::fmt;
use std::time::Duration;

use crate::KafkaSection;

/// The longest time for a look at a broker's certificate.
const LOOK: Duration = Duration::from_secs(3);

/// The mistake of a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateMistake {
    /// No authority that the client trusts has signed it.
    UnknownAuthority,
    /// Its time is over.
    Expired,
    /// It is for another host.
    OtherName,
    /// Another mistake, in the words of the TLS library.
    Other(String),
}

impl CertificateMistake {
    /// Returns the mistake that an HTTP client met, if it met one.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        // The innermost error names the reason; those around it may repeat it.
        let mut found = None;
        let mut source = Some(error);
        while let Some(cause) = source {
            let text = cause.to_string();
            if let Some((_, why)) = text.split_once("invalid peer certificate: ") {
                found = Some(Self::named(why));
            }
            source = cause.source();
        }
        found
    }

    /// Returns the mistake in the words of rustls.
    fn named(why: &str) -> Self {
        match why {
            why if why.starts_with("UnknownIssuer") || why.contains("CaUsedAsEndEntity") => {
                Self::UnknownAuthority
            }
            why if why.contains("xpired") => Self::Expired,
            why if why.contains("not valid for name") || why.starts_with("NotValidForName") => {
                Self::OtherName
            }
            other => Self::Other(other.to_owned()),
        }
    }

    /// Returns what to do. `authorities` are the settings that name trusted authorities.
    pub fn hint(&self, authorities: &str) -> String {
        match self {
            Self::UnknownAuthority => format!("set {authorities} to the authority that has signed it"),
            Self::Expired => "its server needs a new one".to_owned(),
            Self::OtherName => "use a host name that the certificate has".to_owned(),
            Self::Other(_) => format!("check the certificate, and {authorities}"),
        }
    }
}

impl fmt::Display for CertificateMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAuthority => f.write_str("no authority that is trusted here has signed it"),
            Self::Expired => f.write_str("it has expired"),
            Self::OtherName => f.write_str("it is for another host name"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// Looks at a broker's certificate, because librdkafka does not tell what is wrong with it. `None` if the look
/// fails for another reason.
pub(super) fn look(kafka: &KafkaSection, broker: &str) -> Option<CertificateMistake> {
    // The authorities that librdkafka was given, as a file or by reference.
    let pem = match kafka.secrets.get("ssl.ca.pem") {
        Some(secret) => secret.reveal("kafka.secrets.ssl.ca.pem").ok(),
        None => kafka
            .properties
            .get("ssl.ca.pem")
            .cloned()
            .or_else(|| std::fs::read_to_string(kafka.properties.get("ssl.ca.location")?).ok()),
    };
    let authorities = reqwest::Certificate::from_pem_bundle(pem.unwrap_or_default().as_bytes()).ok()?;

    // A thread of its own: the caller may be inside a runtime.
    let url = format!("https://{broker}/");
    let looked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let client = reqwest::Client::builder().timeout(LOOK).tls_certs_merge(authorities).build().ok()?;
        let error = runtime.block_on(async { client.get(url).send().await }).err()?;
        CertificateMistake::of(&error)
    });
    looked.join().ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_is_named_in_the_words_of_an_operator() {
        for (why, mistake) in [
            ("UnknownIssuer", CertificateMistake::UnknownAuthority),
            ("Expired", CertificateMistake::Expired),
            ("certificate expired: verified at time 2", CertificateMistake::Expired),
            ("certificate not valid for name \"a\"; it is for b", CertificateMistake::OtherName),
            ("BadEncoding", CertificateMistake::Other("BadEncoding".to_owned())),
        ] {
            let error = std::io::Error::other(format!("invalid peer certificate: {why}"));
            assert_eq!(CertificateMistake::of(&error), Some(mistake), "{why}");
        }
        assert_eq!(CertificateMistake::of(&std::io::Error::other("connection refused")), None);
    }
}
