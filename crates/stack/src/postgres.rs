//! `PostgreSQL`, with one user for the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mariadb::{hex, write_private};
use crate::owner::ServerOwner;
use crate::server::{StackServerPlan, kept, prepare, random};
use crate::{StackError, installation, ports, probe};

/// The name of the user, who owns the whole cluster.
const USER: &str = "sluice";

/// Plans the server with its data under `dir`. Returns the recipe for its start and the database's URL, which
/// holds the password.
pub(crate) fn plan(
    dir: &Path,
    logs: &Path,
    tie: &str,
    keep_ports: bool,
) -> Result<(StackServerPlan, String), StackError> {
    let folders = program_folders();
    let server = installation::program("PostgreSQL", "postgres", &folders)?;
    let initdb = installation::program("PostgreSQL", "initdb", &folders)?;

    // Debian's package makes the user `postgres`. Where it is missing, an unprivileged user will do.
    let owner = ServerOwner::choose(&["postgres", "nobody"])?; // house: data

    std::fs::create_dir_all(dir).map_err(StackError::io(format!("create {}", dir.display())))?;
    let port = ports::choose(dir, 1, keep_ports)?[0];
    let password = kept(&dir.join("password"), || Ok(hex(&random::<16>()?)))?;

    // The data is where the server's own user can reach it.
    let home = std::path::absolute(owner.reachable(dir, tie)?)
        .map_err(StackError::io("find the database's folder"))?;
    let data = home.join("data");

    // Prepare the data once. The mark is written last: a start that was cut short begins again.
    if !home.join("prepared").exists() {
        let _ = std::fs::remove_dir_all(&data);
        owner.own(&home)?;

        // initdb takes the password from a file: a command line is visible to all users.
        let password_file = home.join("password.initdb");
        write_private(&owner, &password_file, &password)?;
        let mut init = owner.command(&initdb);
        init.arg("-D").arg(&data).args(["-U", USER, "-E", "UTF8", "--locale=C", "--auth=scram-sha-256"]);
        init.arg(format!("--pwfile={}", password_file.display())).current_dir(&home);
        prepare("preparing PostgreSQL's folder", &mut init)?;
        let _ = std::fs::remove_file(&password_file);
        std::fs::write(home.join("prepared"), "").map_err(StackError::io("mark PostgreSQL's folder"))?;
    }

    let plan = StackServerPlan {
        name: "postgres".to_owned(),
        log: logs.join("postgres.log"),
        command: Box::new(move || {
            let mut command = owner.command(&server);
            command.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
            command.args(["-c", "unix_socket_directories=", "-c", "shared_buffers=32MB"]).current_dir(&home);
            command
        }),
        probe: Box::new(move || probe::postgres(port, USER)),
    };
    Ok((plan, format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres")))
}

/// Returns the folders of PostgreSQL's programs: first the one that `pg_config` reports, then Debian's,
/// newest version first.
fn program_folders() -> Vec<PathBuf> {
    let reported = Command::new("pg_config").arg("--bindir").output().ok();
    let reported =
        reported.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim().to_owned()));

    // Debian keeps each version in /usr/lib/postgresql/<version>/bin. Other entries have no number and are
    // left out.
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    reported.into_iter().chain(versions.into_iter().rev().map(|(_, bin)| bin)).collect()
}
