//! The profile `fleet` of `docker-compose.yml` without Docker: the same commands, configurations, variables, health
//! checks and order, as processes of this machine. Addresses of the compose network are replaced by the stack's.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Map, Value};
use sluice_stack::{ServerStack, process};
use sluice_tests::command::sluice;
use sluice_tests::{binary, eventually};
use tempfile::TempDir;

/// The whole way of a month, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(240);

/// The month of flights that the image holds.
const MONTH: &str = "tests/data";

/// Returns the repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Replaces `${NAME:?message}` by the user's variables. Panics if one is missing, as Docker refuses to start then.
fn interpolate(text: &str, variables: &BTreeMap<&str, &str>) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (inside, after) = rest.split_once('}').unwrap();
    let name = inside.split(':').next().unwrap();
    let value = variables.get(name).unwrap_or_else(|| panic!("{inside}: no variable"));
    format!("{before}{value}{}", interpolate(after, variables))
}

/// Returns a value's texts in order, for a list of arguments.
fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Returns a free port of the loopback.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The compose file's fleet on this machine.
struct ComposedFleet {
    services: Map<String, Value>,
    folder: TempDir,
    /// Text of the compose network → text of this machine, the longer ones first.
    replaced: Vec<(String, String)>,
    running: BTreeMap<String, Child>,
    /// Order of the starts.
    started: Vec<String>,
}

impl ComposedFleet {
    /// Reads the compose file and decides where its addresses and folders are.
    fn read(stack: &ServerStack) -> Self {
        let text = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
        let key = "KXK7BE2W3yhxugNMld4ncLkCS5TdJm+4AUqT3CVutwA=";
        let variables = BTreeMap::from([
            ("SLUICE_DB_PASSWORD", "password"),
            ("SLUICE_API_TOKEN", "token"),
            ("SLUICE_MASKING_KEY", key),
        ]);
        let file: Value = serde_saphyr::from_str(&interpolate(&text, &variables)).unwrap();

        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let path = |path: PathBuf| path.display().to_string();
        let api = free_port();
        let replaced = [
            ("mysql://sluice:password@mariadb:3306/sluice", stack.mariadb_url().to_owned()),
            ("http://registry:8080/apis/ccompat/v7", stack.registry_url().to_owned()),
            ("kafka:9092", stack.brokers().to_owned()),
            ("http://api:8000", format!("http://127.0.0.1:{api}")),
            ("0.0.0.0:8000", format!("127.0.0.1:{api}")),
            ("127.0.0.1/8000", format!("127.0.0.1/{api}")),
            ("/usr/share/sluicegate/schemas", path(root().join("schemas"))),
            ("/usr/share/sluicegate/demo", path(root().join(MONTH))),
            ("path: /data", format!("path: {}", path(folder.path().join("data")))),
        ];
        let replaced = replaced.into_iter().map(|(from, to)| (from.to_owned(), to)).collect();

        // What has no profile is a server of the stack.
        let mut services = file["services"].as_object().unwrap().clone();
        services.retain(|_, service| service["profiles"] == serde_json::json!(["fleet"]));
        Self { services, folder, replaced, running: BTreeMap::new(), started: Vec::new() }
    }

    /// Returns a text with the addresses and folders of this machine. Each worker has a port for its own pages.
    fn here(&self, text: &str, port: u16) -> String {
        let text = self.replaced.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        text.replace("127.0.0.1:9464", &format!("127.0.0.1:{port}"))
            .replace("127.0.0.1/9464", &format!("127.0.0.1/{port}"))
    }

    /// Tells whether a service's condition is met. The servers of the stack are healthy.
    fn is_met(&mut self, name: &str, condition: &str) -> bool {
        if !self.services.contains_key(name) {
            return true;
        }
        let Some(child) = self.running.get_mut(name) else { return false };
        if condition == "service_completed_successfully" {
            return child.try_wait().unwrap().is_some_and(|status| {
                assert!(status.success(), "{name} ended with {status}: {}", self.log(name));
                true
            });
        }
        assert_eq!(condition, "service_healthy");
        self.is_healthy(name)
    }

    /// Carries out a service's own health check.
    fn is_healthy(&self, name: &str) -> bool {
        let test = texts(&self.services[name]["healthcheck"]["test"]);
        assert_eq!(test[0], "CMD");
        let port = self.port(name);
        let arguments = test[2..].iter().map(|text| self.here(text, port));
        let status = Command::new(&test[1]).args(arguments).stderr(Stdio::null()).status();
        status.unwrap().success()
    }

    /// Starts what has not been started and whose conditions are met. Returns whether everything is started.
    fn start_what_may(&mut self) -> bool {
        let names: Vec<String> = self.services.keys().cloned().collect();
        for name in names {
            let after = self.services[&name]["depends_on"].as_object().unwrap().clone();
            let met = after.iter().all(|(on, how)| self.is_met(on, how["condition"].as_str().unwrap()));
            if met && !self.running.contains_key(&name) {
                self.start(&name);
            }
        }
        self.running.len() == self.services.len()
    }

    /// Starts one service: the image's entry point or the service's own, with the service's variables and no others.
    fn start(&mut self, name: &str) {
        let service = self.services[name].clone();
        assert_eq!(service["image"], "sluicegate", "{name}");
        let entry = service["entrypoint"].as_array().map_or("sluice", |entry| entry[0].as_str().unwrap());
        let port = free_port();
        std::fs::write(self.folder.path().join(format!("{name}.port")), port.to_string()).unwrap();

        let log = std::fs::File::create(self.folder.path().join(format!("{name}.log"))).unwrap();
        let mut command = process::guarded(binary().with_file_name(entry));
        for argument in texts(&service["command"]) {
            command.arg(self.argument(&argument, port));
        }
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        for (key, value) in service["environment"].as_object().into_iter().flatten() {
            command.env(key, self.here(value.as_str().unwrap(), port));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running.insert(name.to_owned(), process::spawn(command).unwrap());
        self.started.push(name.to_owned());
    }

    /// Returns an argument as it is here; a configuration file is copied with the addresses of here.
    fn argument(&self, argument: &str, port: u16) -> String {
        let Some(file) = argument.strip_prefix("/config/") else { return self.here(argument, port) };
        let text = std::fs::read_to_string(root().join("setup/compose").join(file)).unwrap();
        let path = self.folder.path().join(file);
        std::fs::write(&path, self.here(&text, port)).unwrap();
        path.display().to_string()
    }

    /// Returns the port of a worker's pages.
    fn port(&self, name: &str) -> u16 {
        let text = std::fs::read_to_string(self.folder.path().join(format!("{name}.port"))).unwrap();
        text.parse().unwrap()
    }

    /// Returns the end of a service's log.
    fn log(&self, name: &str) -> String {
        let text =
            std::fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    }

    /// Fails if a service has ended that runs until it is stopped.
    fn assert_running(&mut self) {
        for (name, child) in &mut self.running {
            let ended = child.try_wait().unwrap();
            if self.services[name]["restart"] == "unless-stopped" {
                let log = self.folder.path().join(format!("{name}.log"));
                assert!(ended.is_none(), "{name}: {ended:?}: {}", std::fs::read_to_string(log).unwrap());
            }
        }
    }

    /// Returns a number that the lake answers; `None` if the table is not there yet.
    fn number(&self, query: &str) -> Option<i64> {
        let lake = self.folder.path().join("data/lake");
        let asked = sluice(["sql", "--output", "json", "--lake", lake.to_str().unwrap(), query]);
        let rows: Value = serde_json::from_str(&asked.out).ok()?;
        rows[0]["n"].as_i64()
    }
}

impl Drop for ComposedFleet {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns the number of flights of the month that have a tail number.
fn flights() -> i64 {
    let packed = std::fs::File::open(root().join(MONTH).join("flights.csv.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    let column = text.lines().next().unwrap().split(',').position(|name| name == "tailnum").unwrap();
    let known = text.lines().skip(1).filter(|line| line.split(',').nth(column) != Some("NA"));
    i64::try_from(known.count()).unwrap()
}

#[test]
fn the_fleet_of_compose_goes_the_whole_way_of_the_demo() {
    let stack = ServerStack::builder().kafka(1).registry().mariadb().start().unwrap();
    let mut fleet = ComposedFleet::read(&stack);
    let names: Vec<&str> = fleet.services.keys().map(String::as_str).collect();
    for part in ["ids", "api", "apply", "collector", "masker", "normaliser", "sink"] {
        assert!(names.contains(&part), "{part}: {names:?}");
    }

    // As Docker does: each service once its conditions are met.
    eventually("every service is started", PATIENCE, || {
        fleet.assert_running();
        fleet.start_what_may().then_some(())
    });
    let place = |name: &str| fleet.started.iter().position(|started| started == name).unwrap();
    assert!(place("apply") < place("masker") && place("ids") < place("collector"), "{:?}", fleet.started);

    // All flights of the month are in the lake, masked, with their facts; every worker is healthy.
    let expected = flights();
    eventually("all flights are in the lake", PATIENCE, || {
        fleet.assert_running();
        (fleet.number("SELECT COUNT(*) AS n FROM aviation_flight_masked_v1") == Some(expected)).then_some(())
    });
    eventually("facts and aircraft are in the lake", PATIENCE, || {
        let facts = fleet.number("SELECT COUNT(*) AS n FROM aviation_flight_facts_v1")?;
        let aircraft = fleet.number("SELECT COUNT(*) AS n FROM aviation_aircraft_masked_v1")?;
        (facts > expected && aircraft > 1000).then_some(())
    });
    let raw = "SELECT COUNT(*) AS n FROM aviation_flight_masked_v1 WHERE tailnum LIKE 'N%'";
    assert_eq!(fleet.number(raw), Some(0));
    for worker in ["collector", "masker", "normaliser", "sink"] {
        eventually("a worker is healthy", PATIENCE, || fleet.is_healthy(worker).then_some(()));
    }
    assert!(fleet.folder.path().join("data/archive").read_dir().unwrap().next().is_some());
}
