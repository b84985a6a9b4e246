//! An authority, and the certificates that it signs: the broker's, one that has expired, and one for each user.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{kept, prepare};
use crate::{StackError, installation};

/// Days for which the certificates are valid.
const DAYS: i32 = 30;

/// Makes all keys and certificates in `dir`, PEM.
///
/// # Errors
/// [`StackError`] if `openssl` fails.
pub(super) fn make(dir: &Path, users: &[String]) -> Result<(), StackError> {
    let maker = CertificateMaker { dir, openssl: installation::program("OpenSSL", "openssl", &[])? };

    // The authority signs itself.
    let mut authority = maker.command(&["req", "-x509", "-newkey", "rsa:2048", "-nodes"]);
    authority.args(["-days", &DAYS.to_string(), "-subj", "/CN=sluice-stack authority"]);
    authority.arg("-keyout").arg(maker.file("authority.key")).arg("-out").arg(maker.file("authority.crt"));
    prepare("making an authority", &mut authority)?;

    // One key of the server, with a valid certificate and one that ended yesterday.
    maker.request("server", "localhost")?;
    maker.sign("server", "server", DAYS, true)?;
    maker.sign("server", "expired", -1, true)?;

    // Kafka's PEM key store is the private key followed by the certificate.
    let read = |file: PathBuf| {
        std::fs::read_to_string(&file).map_err(StackError::io(format!("read {}", file.display())))
    };
    let store = read(maker.file("server.key"))? + &read(maker.file("server.crt"))?;
    kept(&maker.file("server.pem"), || Ok(store))?;

    // The users, and one whose certificate has ended.
    for user in users {
        maker.request(user, user)?;
        maker.sign(user, user, DAYS, false)?;
    }
    maker.request("expired-user", "expired-user")?;
    maker.sign("expired-user", "expired-user", -1, false)
}

/// `openssl`, and the folder of its files.
struct CertificateMaker<'a> {
    dir: &'a Path,
    openssl: PathBuf,
}

impl CertificateMaker<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.openssl);
        command.args(arguments);
        command
    }

    /// Makes a key and a request for a certificate of `subject`. Elliptic curves: there are many users, and RSA
    /// keys take long.
    fn request(&self, name: &str, subject: &str) -> Result<(), StackError> {
        let mut make = self.command(&["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        make.args(["-nodes", "-subj", &format!("/CN={subject}")]);
        make.arg("-keyout").arg(self.file(&format!("{name}.key")));
        make.arg("-out").arg(self.file(&format!("{name}.csr")));
        prepare("requesting a certificate", &mut make)
    }

    /// Lets the authority sign a request. A negative number of `days` makes a certificate that has ended.
    fn sign(&self, request: &str, name: &str, days: i32, server: bool) -> Result<(), StackError> {
        let extensions = self.file(&format!("{name}.extensions"));
        let names = if server { "subjectAltName=DNS:localhost,IP:127.0.0.1\n" } else { "" };
        let text = format!("basicConstraints=CA:FALSE\n{names}");
        std::fs::write(&extensions, text)
            .map_err(StackError::io(format!("write {}", extensions.display())))?;

        let mut sign = self.command(&["x509", "-req", "-days", &days.to_string()]);
        sign.arg("-in").arg(self.file(&format!("{request}.csr")));
        sign.arg("-CA").arg(self.file("authority.crt")).arg("-CAkey").arg(self.file("authority.key"));
        sign.arg("-CAcreateserial").arg("-extfile").arg(&extensions);
        sign.arg("-out").arg(self.file(&format!("{name}.crt")));
        prepare("signing a certificate", &mut sign)
    }
}
