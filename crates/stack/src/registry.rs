//! The schema registry: Apicurio, through its Confluent-compatible API.

use std::path::Path;

use crate::server::StackServerPlan;
use crate::{StackError, StackInstallation, installation, ports, probe, process};

/// The path of the Confluent-compatible API.
const API: &str = "/apis/ccompat/v7";

/// Plans the registry with its data (an H2 file) under `dir`. Returns the recipe for its start and its base
/// address.
pub(crate) fn plan(
    here: &StackInstallation,
    dir: &Path,
    logs: &Path,
    keep_ports: bool,
) -> Result<(StackServerPlan, String), StackError> {
    let java = installation::program("Java", "java", &[])?;
    let jar = here.registry_jar()?;

    // The H2 file needs an absolute path, and the registry runs in this folder.
    std::fs::create_dir_all(dir).map_err(StackError::io(format!("create {}", dir.display())))?;
    let dir = std::path::absolute(dir).map_err(StackError::io("find the registry's folder"))?;
    let port = ports::choose(&dir, 1, keep_ports)?[0];

    // A small and quick Java process that listens on the loopback interface only.
    let mut flags: Vec<String> =
        ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"].map(str::to_owned).to_vec();
    flags.push("-Dquarkus.http.host=127.0.0.1".to_owned());
    flags.push(format!("-Dquarkus.http.port={port}"));
    flags.push("-Dquarkus.http.access-log.enabled=false".to_owned());

    // By default the registry keeps everything in memory. With WRITE_DELAY=0, data that it has acknowledged
    // survives SIGKILL. Without it, schema ids were given out a second time after a SIGKILL.
    flags.push(format!("-Dapicurio.datasource.url=jdbc:h2:file:{}/registry;WRITE_DELAY=0", dir.display()));

    // Three pools of connections, each with few connections.
    for pool in ["", "blue.", "green."] {
        flags.push(format!("-Dapicurio.datasource.{pool}jdbc.initial-size=1"));
        flags.push(format!("-Dapicurio.datasource.{pool}jdbc.min-size=1"));
        flags.push(format!("-Dapicurio.datasource.{pool}jdbc.max-size=10"));
    }

    let plan = StackServerPlan {
        name: "registry".to_owned(),
        log: logs.join("registry.log"),
        command: Box::new(move || {
            let mut command = process::guarded(&java);
            command.args(&flags).arg("-jar").arg(&jar).current_dir(&dir);
            command
        }),
        probe: Box::new(move || probe::http(port, &format!("{API}/subjects"))),
    };
    Ok((plan, format!("http://127.0.0.1:{port}{API}")))
}
