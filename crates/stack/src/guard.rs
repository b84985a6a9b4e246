//! A broker that asks its clients for a login: the authoriser is on, and there is a listener for each kind of
//! login.
//!
//! ```text
//!  PLAINTEXT   the nodes among themselves, and the set-up: super user (loopback only)
//!  SCRAM       SASL_PLAINTEXT, SCRAM-SHA-512             users made when the folder is formatted
//!  OAUTH       SASL_PLAINTEXT, OAUTHBEARER               tokens signed by `BrokerGuard::sign`, checked by
//! their key
//!  TLS         SASL_SSL, SCRAM-SHA-512                   a certificate made here, its own authority
//! ```
//! `openssl` makes all keys and certificates when the folder is new. They stay with the folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::mariadb::hex;
use crate::server::{kept, prepare, random};
use crate::{StackError, installation, ports};

/// The issuer of the tokens.
const ISSUER: &str = "sluice-stack";
/// The audience of the tokens.
const AUDIENCE: &str = "kafka";

/// The logins of a guarded broker. Only for a cluster of one node.
#[derive(Debug)]
pub struct BrokerGuard {
    dir: PathBuf,
    users: Vec<String>,
    password: String,
    /// The ports of SCRAM, OAUTH and TLS.
    ports: Mutex<[u16; 3]>,
}

impl BrokerGuard {
    /// Makes certificate, keys and passwords, once for each folder.
    pub(crate) fn new(dir: &Path, users: &[String]) -> Result<Self, StackError> {
        std::fs::create_dir_all(dir).map_err(StackError::io(format!("create {}", dir.display())))?;
        let password = kept(&dir.join("password"), || Ok(hex(&random::<16>()?)))?;
        let guard =
            Self { dir: dir.to_owned(), users: users.to_owned(), password, ports: Mutex::new([0; 3]) };

        // This file is written last: if it exists, the others do.
        if !guard.file("jwks.json").exists() {
            guard.certificate()?;
            guard.token_key()?;
        }
        Ok(guard)
    }

    /// Returns the bootstrap server for SASL_PLAINTEXT with SCRAM-SHA-512.
    #[must_use]
    pub fn scram(&self) -> String {
        format!("127.0.0.1:{}", self.chosen()[0])
    }

    /// Returns the bootstrap server for SASL_PLAINTEXT with OAUTHBEARER.
    #[must_use]
    pub fn oauth(&self) -> String {
        format!("127.0.0.1:{}", self.chosen()[1])
    }

    /// Returns the bootstrap server for SASL_SSL with SCRAM-SHA-512. Its certificate is for `localhost`.
    #[must_use]
    pub fn tls(&self) -> String {
        format!("localhost:{}", self.chosen()[2])
    }

    /// Returns the path of the certificate to trust, PEM.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("server.crt")
    }

    /// Returns the path of a file with the password that all SCRAM users share.
    #[must_use]
    pub fn password(&self) -> PathBuf {
        self.file("password")
    }

    /// Returns a token for `user` that is valid for `life` (RFC 7519, RS256).
    ///
    /// # Errors
    /// [`StackError`] if `openssl` fails.
    pub fn sign(&self, user: &str, life: Duration) -> Result<String, StackError> {
        // The text to sign: header and claims.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = format!(
            r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"{user}","iat":{now},"exp":{}}}"#,
            now + life.as_secs()
        );
        let head = r#"{"alg":"RS256","typ":"JWT","kid":"stack"}"#;
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));

        // openssl reads the text from its input and writes the raw signature.
        let mut sign = self.openssl()?;
        sign.args(["dgst", "-sha256", "-sign"]).arg(self.file("token.key"));
        let mut child = sign
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(StackError::io("sign a token"))?;

        // The input is closed at the end of this block: openssl waits for its end.
        if let Some(mut input) = child.stdin.take() {
            input.write_all(text.as_bytes()).map_err(StackError::io("sign a token"))?;
        }

        let signed = child.wait_with_output().map_err(StackError::io("sign a token"))?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signed.stdout)))
    }

    /// Takes ports. With `keep` they are those of the former start, if they are still free.
    pub(crate) fn choose(&self, keep: bool) -> Result<(), StackError> {
        let chosen = ports::choose(&self.dir, 3, keep)?;
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.copy_from_slice(&chosen);
        Ok(())
    }

    /// Returns settings that go behind a node's own. If a key appears in two lines, Kafka takes the later
    /// one.
    pub(crate) fn settings(&self, clients: u16, controllers: u16) -> String {
        let [scram, oauth, tls] = self.chosen();
        let jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let by_token = "org.apache.kafka.common.security.oauthbearer";

        let lines = [
            // The listeners replace those of the node's own settings. The certificate is for `localhost`.
            format!(
                "listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controllers},\
                 SCRAM://127.0.0.1:{scram},OAUTH://127.0.0.1:{oauth},TLS://127.0.0.1:{tls}"
            ),
            format!(
                "advertised.listeners=PLAINTEXT://127.0.0.1:{clients},SCRAM://127.0.0.1:{scram},\
                 OAUTH://127.0.0.1:{oauth},TLS://localhost:{tls}"
            ),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_PLAINTEXT,\
             OAUTH:SASL_PLAINTEXT,TLS:SASL_SSL"
                .to_owned(),
            // The nodes among themselves need no login; on the loopback interface they are super users.
            "inter.broker.listener.name=PLAINTEXT".to_owned(),
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            "super.users=User:ANONYMOUS".to_owned(),
            "allow.everyone.if.no.acl.found=false".to_owned(),
            // SCRAM, with and without TLS.
            "listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512".to_owned(),
            format!("listener.name.scram.scram-sha-512.sasl.jaas.config={jaas}"),
            "listener.name.tls.sasl.enabled.mechanisms=SCRAM-SHA-512".to_owned(),
            format!("listener.name.tls.scram-sha-512.sasl.jaas.config={jaas}"),
            "listener.name.tls.ssl.keystore.type=PEM".to_owned(),
            format!("listener.name.tls.ssl.keystore.location={}", self.file("server.pem").display()),
            // Tokens: the broker checks the signature by the key set, and the names of audience and issuer.
            "listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER".to_owned(),
            format!(
                "listener.name.oauth.oauthbearer.sasl.jaas.config={by_token}.OAuthBearerLoginModule required;"
            ),
            format!(
                "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class={by_token}.OAuthBearerValidatorCallbackHandler"
            ),
            format!("sasl.oauthbearer.jwks.endpoint.url={}", self.keys_url()),
            format!("sasl.oauthbearer.expected.audience={AUDIENCE}"),
            format!("sasl.oauthbearer.expected.issuer={ISSUER}"),
        ];
        lines.join("\n") + "\n"
    }

    /// Returns the flags of the broker's Java process that allow the key set. Kafka reads keys only from
    /// files and URLs that its command line allows.
    pub(crate) fn server_flags(&self) -> [String; 2] {
        let allowed = "-Dorg.apache.kafka.sasl.oauthbearer.allowed";
        [
            format!("{allowed}.urls={}", self.keys_url()),
            format!("{allowed}.files={}", self.file("jwks.json").display()),
        ]
    }

    /// Returns the users as arguments of the tool that formats the folder.
    pub(crate) fn format_arguments(&self) -> Vec<String> {
        let user = |name: &String| format!("SCRAM-SHA-512=[name={name},password={}]", self.password);
        self.users.iter().flat_map(|name| ["--add-scram".to_owned(), user(name)]).collect()
    }

    /// Returns the URL of the key set.
    fn keys_url(&self) -> String {
        format!("file://{}", self.file("jwks.json").display())
    }

    /// Returns the ports of SCRAM, OAUTH and TLS.
    fn chosen(&self) -> [u16; 3] {
        *self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the path of a file in the guard's folder.
    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns a command that runs `openssl`.
    fn openssl(&self) -> Result<Command, StackError> {
        Ok(Command::new(installation::program("OpenSSL", "openssl", &[])?))
    }

    /// Makes a certificate that is its own authority, and the key store that Kafka reads: one file with both.
    fn certificate(&self) -> Result<(), StackError> {
        let (key, certificate) = (self.file("server.key"), self.file("server.crt"));
        let mut make = self.openssl()?;
        make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]);
        make.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        make.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        prepare("making a certificate", &mut make)?;

        // Kafka's PEM key store is the private key followed by the certificate.
        let read = |file: &Path| {
            std::fs::read_to_string(file).map_err(StackError::io(format!("read {}", file.display())))
        };
        let store = read(&key)? + &read(&certificate)?;
        kept(&self.file("server.pem"), || Ok(store)).map(|_| ())
    }

    /// Makes the key that signs tokens, and its public half as a JSON Web Key Set (RFC 7517).
    fn token_key(&self) -> Result<(), StackError> {
        let key = self.file("token.key");
        let mut make = self.openssl()?;
        make.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]).arg(&key);
        prepare("making a key for tokens", &mut make)?;

        // The modulus comes as one line: `Modulus=` and hexadecimal digits.
        let doing = "read the key's modulus";
        let mut show = self.openssl()?;
        show.args(["rsa", "-noout", "-modulus", "-in"]).arg(&key);
        let shown = show.output().map_err(StackError::io(doing))?;
        let text = String::from_utf8_lossy(&shown.stdout);
        let digits = text.trim().strip_prefix("Modulus=").unwrap_or_default();
        let modulus: Vec<u8> = (0..digits.len() / 2)
            .filter_map(|at| u8::from_str_radix(digits.get(at * 2..at * 2 + 2)?, 16).ok())
            .collect();

        // The key set wants base64. [1, 0, 1] is 65537, openssl's public exponent.
        let (n, e) = (URL_SAFE_NO_PAD.encode(modulus), URL_SAFE_NO_PAD.encode([1, 0, 1]));
        let keys = format!(
            r#"{{"keys":[{{"kty":"RSA","kid":"stack","use":"sig","alg":"RS256","n":"{n}","e":"{e}"}}]}}"#
        );
        kept(&self.file("jwks.json"), || Ok(keys)).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_a_token_has_three_parts() {
        let dir = tempfile::tempdir().unwrap();
        let users = ["masker".to_owned()];
        let guard = BrokerGuard::new(dir.path(), &users).unwrap();
        let keys = std::fs::read_to_string(guard.file("jwks.json")).unwrap();
        assert!(keys.contains(r#""e":"AQAB""#) && keys.len() > 380, "{keys}");
        let token = guard.sign("masker", Duration::from_secs(60)).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!((parts.len(), URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len()), (3, 256));
        let again = BrokerGuard::new(dir.path(), &users).unwrap();
        assert_eq!(again.password, guard.password);
        assert_eq!(std::fs::read_to_string(again.file("jwks.json")).unwrap(), keys);
    }
}
