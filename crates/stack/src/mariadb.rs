//! `MariaDB`, with one database and one user for the tests.

use std::path::Path;

use crate::owner::ServerOwner;
use crate::server::{StackServerPlan, kept, prepare, random};
use crate::{StackError, installation, ports, probe};

/// The name of the database and of its user.
const NAME: &str = "sluice";

/// Plans the server with its data under `dir`. Returns the recipe for its start and the database's URL, which
/// holds the password.
pub(crate) fn plan(
    dir: &Path,
    logs: &Path,
    tie: &str,
    keep_ports: bool,
) -> Result<(StackServerPlan, String), StackError> {
    let server = installation::program("MariaDB", "mariadbd", &[])?;
    let installer = installation::program("MariaDB", "mariadb-install-db", &[])?;

    // Debian's package makes the user `mysql`. Where it is missing, an unprivileged user will do.
    let owner = ServerOwner::choose(&["mysql", "nobody"])?; // house: data

    std::fs::create_dir_all(dir).map_err(StackError::io(format!("create {}", dir.display())))?;
    let port = ports::choose(dir, 1, keep_ports)?[0];
    let password = kept(&dir.join("password"), || Ok(hex(&random::<16>()?)))?;

    // Data and temporary files are where the server's own user can reach them.
    let home = std::path::absolute(owner.reachable(dir, tie)?)
        .map_err(StackError::io("find the database's folder"))?;
    let data = home.join("data");
    let first_words = home.join("init.sql");

    // A temporary folder of its own: in a shared one a starting server removes files that it takes for
    // another's leftovers.
    let temporary = home.join("tmp");
    owner.own(&temporary)?;

    // Prepare the data once. The mark is written last: a start that was cut short begins again.
    if !home.join("prepared").exists() {
        let _ = std::fs::remove_dir_all(&data);
        owner.own(&home)?;
        owner.own(&data)?;

        // The database's own root may log in only through the socket, as this system user.
        let mut install = owner.command(&installer);
        install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=socket"]);
        install.arg(format!("--datadir={}", data.display())).env("TMPDIR", &temporary).current_dir(&home);
        prepare("preparing MariaDB's folder", &mut install)?;
        std::fs::write(home.join("prepared"), "").map_err(StackError::io("mark MariaDB's folder"))?;
    }

    // The server reads this file at every start.
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
            // A name relative to the data folder: the whole path may exceed the longest name of a socket.
            command.args(["--socket=mariadb.sock", "--pid-file=mariadb.pid", "--bind-address=127.0.0.1"]);
            // Little memory: the stack runs beside the workers.
            command.args(["--skip-name-resolve", "--skip-log-bin", "--innodb-buffer-pool-size=64M"]);
            command.args(["--innodb-log-file-size=32M", "--performance-schema=OFF", "--max-connections=100"]);
            command
        }),
        probe: Box::new(move || probe::mariadb(port)),
    };
    Ok((plan, format!("mysql://{NAME}:{password}@127.0.0.1:{port}/{NAME}")))
}

/// Returns the statements that the server carries out at every start, one line each, as `--init-file` wants
/// them.
fn init_sql(password: &str) -> String {
    format!(
        "CREATE DATABASE IF NOT EXISTS {NAME} CHARACTER SET utf8mb4;\n\
         CREATE USER IF NOT EXISTS '{NAME}'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
         GRANT ALL ON {NAME}.* TO '{NAME}'@'127.0.0.1';\n"
    )
}

/// Writes a file that only the owner may read.
pub(crate) fn write_private(owner: &ServerOwner, file: &Path, text: &str) -> Result<(), StackError> {
    // `kept` would return the former text.
    let _ = std::fs::remove_file(file);
    kept(file, || Ok(text.to_owned()))?;
    owner.hand_over(file)
}

/// Returns bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
