//! `PostgreSQL`, with one user for the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mariadb::{hex, write_private};
use crate::owner::ServerOwner;
use crate::server::{StackServerPlan, kept, prepare, random};
use crate::{StackError, installation, ports, probe};

/// Name of the user (who owns the whole cluster).
const USER: &str = "sluice";

/// Plans the server with its data under `dir`; returns the database's URL (it holds the password) too.
pub(crate) fn plan(
    dir: &Path,
    logs: &Path,
    tie: &str,
    keep_ports: bool,
) -> Result<(StackServerPlan, String), StackError> {
    let folders = program_folders();
    let server = installation::program("PostgreSQL", "postgres", &folders)?;
    let initdb = installation::program("PostgreSQL", "initdb", &folders)?;
    let owner = ServerOwner::choose(&["postgres", "nobody"])?;
    std::fs::create_dir_all(dir).map_err(StackError::io(format!("create {}", dir.display())))?;
    let port = ports::choose(dir, 1, keep_ports)?[0];
    let password = kept(&dir.join("password"), || Ok(hex(&random::<16>()?)))?;

    let home = std::path::absolute(owner.reachable(dir, tie)?)
        .map_err(StackError::io("find the database's folder"))?;
    let data = home.join("data");
    if !home.join("prepared").exists() {
        let _ = std::fs::remove_dir_all(&data); // of a start cut short
        owner.own(&home)?;
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

/// Where PostgreSQL's programs are: what `pg_config` says, then Debian's folders, newest version first.
fn program_folders() -> Vec<PathBuf> {
    let said = Command::new("pg_config").arg("--bindir").output().ok();
    let said = said.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    said.into_iter().chain(versions.into_iter().rev().map(|(_, bin)| bin)).collect()
}
