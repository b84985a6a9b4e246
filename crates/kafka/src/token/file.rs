//! Access tokens from a file that another program renews, for example the kubelet (a projected service account
//! token) or an agent of the identity provider.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sluice_config::{ConfigErrors, SecretReference};
use zeroize::Zeroizing;

use super::{LIFE, SaslToken, SaslTokenAnswer, TOKEN};
use crate::KafkaSection;

/// The file with the present token.
pub(super) struct TokenFile {
    path: PathBuf,
}

/// The claims of a JSON Web Token that matter here (RFC 7519, section 4.1). Broker and provider check the rest.
#[derive(Deserialize)]
struct TokenClaims {
    /// The end of its life, in seconds since the epoch; a fraction is allowed.
    exp: f64,
    #[serde(default)]
    sub: Option<String>,
}

impl TokenFile {
    /// Returns the file that the section names, if it names one.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub(super) fn of(kafka: &KafkaSection) -> Result<Option<Self>, ConfigErrors> {
        let Some(reference) = kafka.secrets.get(TOKEN) else { return Ok(None) };
        // Read once here: a wrong path is reported at the start.
        reference.reveal(&format!("kafka.secrets.{TOKEN}"))?;
        match reference {
            SecretReference::File(path) => Ok(Some(Self { path: path.into() })),
            // Refused by the check before.
            SecretReference::Env(_) => Ok(None),
        }
    }

    /// Reads the file. `now` is in milliseconds since the epoch.
    pub(super) fn read(&self, now: i64) -> SaslTokenAnswer {
        let shown = self.path.display();
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => Zeroizing::new(text),
            // The program that renews the token may be replacing the file.
            Err(error) => return SaslTokenAnswer::Outage(format!("the token file {shown}: {error}")),
        };
        let value = Zeroizing::new(text.trim().to_owned());
        if value.is_empty() {
            return SaslTokenAnswer::Outage(format!("the token file {shown} is empty; expected a token"));
        }

        // An opaque token does not show its end. It is read again in time for the usual life.
        let (ends_ms, who) = match claims(&value) {
            #[allow(clippy::cast_possible_truncation, reason = "a saturated cast: an absurd end is no end")]
            Some(claims) => ((claims.exp * 1_000.0) as i64, claims.sub),
            None => (now.saturating_add(i64::try_from(LIFE * 1_000).unwrap_or(i64::MAX)), None),
        };
        if ends_ms <= now {
            let ago = now.saturating_sub(ends_ms) / 1_000;
            return SaslTokenAnswer::Refused(format!(
                "the token in {shown} has expired {ago} s ago; expected a file that is renewed before the token's end"
            ));
        }
        SaslTokenAnswer::Token(SaslToken { value, ends_ms, who: who.unwrap_or_else(|| "token".to_owned()) })
    }
}

/// Returns the claims of a JSON Web Token; `None` for a token of another kind.
fn claims(token: &str) -> Option<TokenClaims> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?);
    serde_json::from_slice(&claims).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims))
    }

    fn read(text: &str) -> SaslTokenAnswer {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, text).unwrap();
        TokenFile { path }.read(1_000_000)
    }

    #[test]
    fn a_token_ends_when_its_claims_say() {
        let text = token(r#"{"sub":"masker","exp":1060.5}"#);
        let SaslTokenAnswer::Token(found) = read(&format!("{text}\n")) else { panic!("no token") };
        assert_eq!((found.ends_ms, found.who.as_str(), found.value.as_str()), (1_060_500, "masker", &*text));
        let SaslTokenAnswer::Token(opaque) = read("opaque") else { panic!("no token") };
        assert_eq!(opaque.ends_ms, 1_300_000);
    }

    #[test]
    fn a_token_that_has_expired_is_refused_without_being_quoted() {
        let text = token(r#"{"exp":990}"#);
        let SaslTokenAnswer::Refused(why) = read(&text) else { panic!("not refused") };
        assert!(why.contains("expired 10 s ago") && !why.contains(&text), "{why}");
        assert!(matches!(read(" \n"), SaslTokenAnswer::Outage(_)));
    }
}
