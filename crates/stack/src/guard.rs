//! A broker that asks its clients for a login: the authoriser is on, and there is a listener for each kind of
//! login.
//!
//! ```text
//!  PLAINTEXT   the nodes among themselves, and the set-up: super user (loopback only)
//!  SCRAM       SASL_PLAINTEXT, SCRAM-SHA-512             users made when the folder is formatted
//!  OAUTH       SASL_PLAINTEXT, OAUTHBEARER               tokens signed by `BrokerGuard::sign`, checked by
//! their key
//!  TLS         SASL_SSL, SCRAM-SHA-512                   a certificate of the authority that is made here
//!  MTLS        SSL, the client has a certificate too     of the same authority; its CN is the user
//!  PLAIN       SASL_PLAINTEXT, PLAIN                     the same users and password as SCRAM
//!  HANDLER     SASL_PLAINTEXT, OAUTHBEARER               tokens that a test's own class checks, if it has one
//! ```
//! `openssl` makes all keys and certificates when the folder is new ([`certificates`]). They stay with the folder.

mod certificates;

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

/// Number of listeners with a login.
const LISTENERS: usize = 6;

/// The class of a test that checks tokens: an `AuthenticateCallbackHandler`.
#[derive(Debug, Clone)]
pub struct TokenHandler {
    /// Folder of the compiled class.
    pub class_path: PathBuf,
    /// Name of the class.
    pub class: String,
}

/// The logins of a guarded broker. Only for a cluster of one node.
#[derive(Debug)]
pub struct BrokerGuard {
    dir: PathBuf,
    users: Vec<String>,
    password: String,
    handler: Option<TokenHandler>,
    /// The ports of the listeners, in the order of the table above.
    ports: Mutex<[u16; LISTENERS]>,
}

impl BrokerGuard {
    /// Makes certificate, keys and passwords, once for each folder.
    pub(crate) fn new(
        dir: &Path,
        users: &[String],
        handler: Option<TokenHandler>,
    ) -> Result<Self, StackError> {
        std::fs::create_dir_all(dir).map_err(StackError::io(format!("create {}", dir.display())))?;
        let password = kept(&dir.join("password"), || Ok(hex(&random::<16>()?)))?;
        let ports = Mutex::new([0; LISTENERS]);
        let guard = Self { dir: dir.to_owned(), users: users.to_owned(), password, handler, ports };

        // This file is written last: if it exists, the others do.
        if !guard.file("jwks.json").exists() {
            certificates::make(&guard.dir, &guard.users)?;
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

    /// Returns the bootstrap server for SSL with a certificate of the client. The broker's is for `localhost`.
    #[must_use]
    pub fn mutual_tls(&self) -> String {
        format!("localhost:{}", self.chosen()[3])
    }

    /// Returns the bootstrap server for SASL_PLAINTEXT with PLAIN.
    #[must_use]
    pub fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.chosen()[4])
    }

    /// Returns the bootstrap server for SASL_PLAINTEXT with OAUTHBEARER, whose tokens the test's own class
    /// checks.
    #[must_use]
    pub fn handled(&self) -> String {
        format!("127.0.0.1:{}", self.chosen()[5])
    }

    /// Returns the path of the authority's certificate, PEM.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("authority.crt")
    }

    /// Returns the paths of certificate and private key of a user, PEM.
    #[must_use]
    pub fn identity(&self, user: &str) -> [PathBuf; 2] {
        [self.file(&format!("{user}.crt")), self.file(&format!("{user}.key"))]
    }

    /// Returns the paths of certificate and private key of a server at `localhost`, PEM: the broker's, and one
    /// that has expired.
    #[must_use]
    pub fn server_identity(&self, expired: bool) -> [PathBuf; 2] {
        [self.file(if expired { "expired.crt" } else { "server.crt" }), self.file("server.key")]
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
        let chosen = ports::choose(&self.dir, LISTENERS, keep)?;
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.copy_from_slice(&chosen);
        Ok(())
    }

    /// Returns settings that go behind a node's own. If a key appears in two lines, Kafka takes the later
    /// one.
    pub(crate) fn settings(&self, clients: u16, controllers: u16) -> String {
        let [scram, oauth, tls, mtls, plain, handled] = self.chosen();
        let stores = |listener: &str| {
            [
                format!("listener.name.{listener}.ssl.keystore.type=PEM"),
                format!(
                    "listener.name.{listener}.ssl.keystore.location={}",
                    self.file("server.pem").display()
                ),
            ]
        };
        let passwords: String =
            self.users.iter().map(|name| format!(" user_{name}=\"{}\"", self.password)).collect();
        let jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let by_token = "org.apache.kafka.common.security.oauthbearer";

        let lines = [
            // The listeners replace those of the node's own settings. The certificate is for `localhost`.
            format!(
                "listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controllers},\
                 SCRAM://127.0.0.1:{scram},OAUTH://127.0.0.1:{oauth},TLS://127.0.0.1:{tls},\
                 MTLS://127.0.0.1:{mtls},PLAIN://127.0.0.1:{plain},HANDLER://127.0.0.1:{handled}"
            ),
            format!(
                "advertised.listeners=PLAINTEXT://127.0.0.1:{clients},SCRAM://127.0.0.1:{scram},\
                 OAUTH://127.0.0.1:{oauth},TLS://localhost:{tls},MTLS://localhost:{mtls},\
                 PLAIN://127.0.0.1:{plain},HANDLER://127.0.0.1:{handled}"
            ),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_PLAINTEXT,\
             OAUTH:SASL_PLAINTEXT,TLS:SASL_SSL,MTLS:SSL,PLAIN:SASL_PLAINTEXT,HANDLER:SASL_PLAINTEXT"
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
            // A client's certificate has to be of the authority; `CN=masker` is `User:masker`.
            "listener.name.mtls.ssl.client.auth=required".to_owned(),
            "listener.name.mtls.ssl.truststore.type=PEM".to_owned(),
            format!("listener.name.mtls.ssl.truststore.location={}", self.authority().display()),
            "ssl.principal.mapping.rules=RULE:^CN=([^,]+)$/$1/,DEFAULT".to_owned(),
            // PLAIN: Kafka keeps its users in the setting itself.
            "listener.name.plain.sasl.enabled.mechanisms=PLAIN".to_owned(),
            format!(
                "listener.name.plain.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required{passwords};"
            ),
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
        // Without a class of its own the listener checks tokens as OAUTH does.
        let handler = self.handler.as_ref().map_or_else(
            || format!("{by_token}.OAuthBearerValidatorCallbackHandler"),
            |handler| handler.class.clone(),
        );
        let handled = [
            "listener.name.handler.sasl.enabled.mechanisms=OAUTHBEARER".to_owned(),
            format!(
                "listener.name.handler.oauthbearer.sasl.jaas.config={by_token}.OAuthBearerLoginModule required;"
            ),
            format!("listener.name.handler.oauthbearer.sasl.server.callback.handler.class={handler}"),
        ];

        let stores = stores("tls").into_iter().chain(stores("mtls"));
        lines.into_iter().chain(stores).chain(handled).collect::<Vec<_>>().join("\n") + "\n"
    }

    /// Returns the folder of a test's own class, for the broker's class path.
    pub(crate) fn class_path(&self) -> Option<&Path> {
        self.handler.as_ref().map(|handler| handler.class_path.as_path())
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

    /// Returns the ports of the listeners.
    fn chosen(&self) -> [u16; LISTENERS] {
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
        let guard = BrokerGuard::new(dir.path(), &users, None).unwrap();
        let keys = std::fs::read_to_string(guard.file("jwks.json")).unwrap();
        assert!(keys.contains(r#""e":"AQAB""#) && keys.len() > 380, "{keys}");
        let token = guard.sign("masker", Duration::from_secs(60)).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!((parts.len(), URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len()), (3, 256));
        let again = BrokerGuard::new(dir.path(), &users, None).unwrap();
        assert_eq!(again.password, guard.password);
        assert_eq!(std::fs::read_to_string(again.file("jwks.json")).unwrap(), keys);
    }
}
