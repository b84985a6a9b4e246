//! `MariaDB`, with one database and one user for the tests.

use std::path::Path;

use crate::owner::ServerOwner;
use crate::server::{StackServerPlan, kept, prepare, random};
use crate::{StackError, installation, ports, probe};

/// Name of the database and of its user.
const NAME: &str = "sluice";

/// Plans the server with its data under `dir`; returns the database's URL (it holds the password) too.
pub(crate) fn plan(
    dir: &Path,
    logs: &Path,
    tie: &str,
    keep_ports: bool,
) -> Result<(StackServerPlan, String), StackError> {
    let server = installation::program("MariaDB", "mariadbd", &[])?;
    let installer = installation::program("MariaDB", "mariadb-install-db", &[])?;
    let owner = ServerOwner::choose(&["mysql", "nobody"])?;
    std::fs::create_dir_all(dir).map_err(StackError::io(format!("create {}", dir.display())))?;
    let port = ports::choose(dir, 1, keep_ports)?[0];
    let password = kept(&dir.join("password"), || Ok(hex(&random::<16>()?)))?;

    let home = std::path::absolute(owner.reachable(dir, tie)?)
        .map_err(StackError::io("find the database's folder"))?;
    let data = home.join("data");
    let first_words = home.join("init.sql");
    // One of its own: a server that starts removes what it takes for another's leftovers from a shared one.
    let temporary = home.join("tmp");
    owner.own(&temporary)?;
    if !home.join("prepared").exists() {
        let _ = std::fs::remove_dir_all(&data); // of a start cut short
        owner.own(&home)?;
        owner.own(&data)?;
        // The data base's own root may come in only through the socket, as this system user.
        let mut install = owner.command(&installer);
        install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=socket"]);
        install.arg(format!("--datadir={}", data.display())).env("TMPDIR", &temporary).current_dir(&home);
        prepare("preparing MariaDB's folder", &mut install)?;
        std::fs::write(home.join("prepared"), "").map_err(StackError::io("mark MariaDB's folder"))?;
    }
    write_private(&owner, &first_words, &init_sql(&password))?;

    let plan = StackServerPlan {
        name: "mariadb".to_owned(),
        log: logs.join("mariadb.log"),
        command: Box::new(move || {
            let mut command = owner.command(&server);
            command.arg("--no-defaults").current_dir(&home);
            command.arg(format!("--datadir={}", data.display())).arg(format!("--port={port}"));
            command.arg(format!("--init-file={}", first_words.display()));
            command.arg(format!("--tmpdir={}", temporary.display()));
            // A name relative to the data folder: the whole path may be longer than a socket's name may be.
            command.args(["--socket=mariadb.sock", "--pid-file=mariadb.pid", "--bind-address=127.0.0.1"]);
            command.args(["--skip-name-resolve", "--skip-log-bin", "--innodb-buffer-pool-size=64M"]);
            command.args(["--innodb-log-file-size=32M", "--performance-schema=OFF", "--max-connections=100"]);
            command
        }),
        probe: Box::new(move || probe::mariadb(port)),
    };
    Ok((plan, format!("mysql://{NAME}:{password}@127.0.0.1:{port}/{NAME}")))
}

/// Carried out at every start; statements of one line each, as `--init-file` wants them.
fn init_sql(password: &str) -> String {
    format!(
        "CREATE DATABASE IF NOT EXISTS {NAME} CHARACTER SET utf8mb4;\n\
         CREATE USER IF NOT EXISTS '{NAME}'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
         GRANT ALL ON {NAME}.* TO '{NAME}'@'127.0.0.1';\n"
    )
}

/// Writes a file that only the owner may read.
pub(crate) fn write_private(owner: &ServerOwner, file: &Path, text: &str) -> Result<(), StackError> {
    let _ = std::fs::remove_file(file);
    kept(file, || Ok(text.to_owned()))?;
    owner.hand_over(file)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
