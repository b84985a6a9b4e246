//! Access tokens for Amazon MSK: a request to `kafka-cluster:Connect`, signed with an identity of AWS.
//!
//! The token is the URL of the signed request in base64, as AWS's own signers make it (for example
//! <https://github.com/aws/aws-msk-iam-sasl-signer-python>). Only the last parameter, the name of the signer,
//! is not signed and differs.

use std::time::{Duration, SystemTime};

use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sluice_core::BoxError;
use zeroize::Zeroizing;

use super::{SaslToken, SaslTokenAnswer, now_ms};
use crate::KafkaSection;

/// A token's life (AWS's signers: `DEFAULT_TOKEN_EXPIRY_SECONDS`).
const LIFE: Duration = Duration::from_secs(900);
/// The service that the signature is for.
const SERVICE: &str = "kafka-cluster";
/// The name of this signer, for AWS's logs.
const SIGNER: &str = concat!("sluicegate/", env!("CARGO_PKG_VERSION"));

/// Signs tokens with the identity that AWS's own tools would take: environment, profile, web identity (IRSA),
/// container (EKS pod identity, ECS) or instance.
pub(super) struct AwsTokenSigner {
    region: String,
    /// Runtime and source of credentials, built at the first request and kept.
    asking: Option<(tokio::runtime::Runtime, DefaultCredentialsChain)>,
}

impl AwsTokenSigner {
    /// Returns the signer if the section asks for one.
    pub(super) fn of(kafka: &KafkaSection) -> Option<Self> {
        let region = super::region_of(kafka).filter(|_| super::by_msk(kafka))?;
        Some(Self { region: region.to_owned(), asking: None })
    }

    /// Looks for the identity and signs a token. Blocks.
    pub(super) fn ask(&mut self) -> SaslTokenAnswer {
        let (runtime, chain) = match self.asking.take() {
            Some(asking) => asking,
            None => match self.chain() {
                Ok(asking) => asking,
                Err(why) => return SaslTokenAnswer::Outage(format!("starting AWS's client: {why}")),
            },
        };
        let found = runtime.block_on(chain.provide_credentials());
        self.asking = Some((runtime, chain));

        let credentials = match found {
            Ok(credentials) => credentials,
            Err(error) => return unavailable(&error),
        };
        match token(&self.region, &credentials, SIGNER, SystemTime::now()) {
            Ok(value) => SaslTokenAnswer::Token(SaslToken {
                value,
                ends_ms: ends_ms(&credentials),
                who: credentials.access_key_id().to_owned(),
            }),
            // The text of this error names settings, never the key.
            Err(error) => SaslTokenAnswer::Refused(format!("signing a token for Amazon MSK: {error}")),
        }
    }

    /// Builds the runtime and the source of credentials.
    fn chain(&self) -> Result<(tokio::runtime::Runtime, DefaultCredentialsChain), std::io::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let region = Region::new(self.region.clone());
        let chain = runtime.block_on(async {
            let provider =
                aws_config::provider_config::ProviderConfig::default().with_region(Some(region.clone()));
            DefaultCredentialsChain::builder().configure(provider).region(region).build().await
        });
        Ok((runtime, chain))
    }
}

/// Returns the answer for credentials that cannot be had.
fn unavailable(error: &CredentialsError) -> SaslTokenAnswer {
    match error {
        // No source is configured, or its configuration is wrong.
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            SaslTokenAnswer::Refused(
                "no identity of AWS was found; expected environment variables, a profile, a web identity, or the role of a container or instance"
                    .to_owned(),
            )
        }
        // The source did not answer, or not as expected: that may pass.
        other => SaslTokenAnswer::Outage(format!("asking AWS for credentials: {other}")),
    }
}

/// Returns the end of a token that is signed now: its own life, or that of the credentials if it ends sooner.
fn ends_ms(credentials: &Credentials) -> i64 {
    let life = i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX);
    let of_token = now_ms().saturating_add(life);
    let until = credentials.expiry().and_then(|ends| ends.duration_since(SystemTime::UNIX_EPOCH).ok());
    until.map_or(of_token, |until| i64::try_from(until.as_millis()).unwrap_or(i64::MAX).min(of_token))
}

/// Returns the token of these credentials at a time. `signer` is the name of the signer.
///
/// # Errors
/// Fails if the region is no part of a URL.
fn token(
    region: &str,
    credentials: &Credentials,
    signer: &str,
    time: SystemTime,
) -> Result<Zeroizing<String>, BoxError> {
    // Signature Version 4 in the query, with nothing but the host among the signed headers.
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFE);
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(time)
        .settings(settings)
        .build()?
        .into();

    let mut url = format!("https://kafka.{region}.amazonaws.com/?Action=kafka-cluster%3AConnect");
    let request = SignableRequest::new("GET", url.as_str(), std::iter::empty(), SignableBody::Bytes(&[]))?;
    let (instructions, _) = sign(request, &parameters)?.into_parts();
    let (_, signed) = instructions.into_parts();

    // In the order of AWS's signers, so that tokens can be compared. The signature is over sorted parameters.
    let mut signed: Vec<_> = signed;
    signed.sort_by_key(|(name, _)| ORDER.iter().position(|known| known == name));
    for (name, value) in signed.iter().map(|(name, value)| (*name, &**value)).chain([("User-Agent", signer)])
    {
        url.push_str(&format!("&{name}={}", encoded(value)));
    }
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(url)))
}

/// The order of the parameters in AWS's tokens.
const ORDER: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
];

/// Encodes a parameter's value: all but letters, digits and `-._~` (RFC 3986, section 2.3).
fn encoded(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    /// Made by `tests/data/msk_tokens.py`.
    const VECTORS: &str = include_str!("../../tests/data/msk_tokens.json");

    #[derive(Deserialize)]
    struct TokenVector {
        region: String,
        access_key: String,
        secret_key: String,
        session_token: Option<String>,
        time: u64,
        user_agent: String,
        token: String,
    }

    fn compare(vectors: &str) {
        let vectors: Vec<TokenVector> = serde_json::from_str(vectors).unwrap();
        assert!(vectors.len() >= 3);
        for vector in vectors {
            let (key, secret) = (vector.access_key, vector.secret_key);
            let credentials = Credentials::new(key, secret, vector.session_token, None, "vector");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(vector.time);
            let ours = token(&vector.region, &credentials, &vector.user_agent, time).unwrap();
            assert_eq!(*ours, vector.token, "{} at {}", vector.region, vector.time);
        }
    }

    #[test]
    fn tokens_are_those_of_aws_own_signer_byte_by_byte() {
        compare(VECTORS);
    }

    /// Makes the vectors again where the package is installed: `MSK_SIGNER_PYTHON`, or else `python3`.
    #[test]
    fn the_installed_signer_makes_the_same_tokens() {
        let python = std::env::var("MSK_SIGNER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let installed = Command::new(&python).args(["-c", "import aws_msk_iam_sasl_signer"]).output();
        if !installed.is_ok_and(|output| output.status.success()) {
            eprintln!("not compared again: {python} has no aws-msk-iam-sasl-signer-python");
            return;
        }

        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/msk_tokens.py");
        let mut child =
            Command::new(&python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(VECTORS.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        compare(&String::from_utf8(output.stdout).unwrap());
    }

    #[test]
    fn a_token_ends_with_its_credentials() {
        let soon = SystemTime::now() + Duration::from_secs(60);
        let ends = |until| ends_ms(&Credentials::new("key", "secret", None, until, "test")) - now_ms();
        assert!((59_000..=60_000).contains(&ends(Some(soon))));
        assert!((899_000..=900_000).contains(&ends(None)));
    }
}
