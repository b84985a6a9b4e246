//! The folders and files of a run.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The folders of one run, all under one root.
pub(crate) struct DemoFolders {
    pub(crate) dir: PathBuf,
}

impl DemoFolders {
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("finding {}", dir.display()))?;
        let layout = Self { dir };
        for folder in [layout.logs(), layout.config(), layout.secrets(), layout.lake(), layout.archive()] {
            std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        Ok(layout)
    }

    /// Returns the folder of the servers' data.
    pub(crate) fn servers(&self) -> PathBuf {
        self.dir.join("servers")
    }

    /// Returns the folder of the logs: one for each server and worker.
    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Returns the folder of the workers' YAML files.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// Returns the folder of key, token and database address. Only the owner can read its files.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.dir.join("secrets")
    }

    /// Returns the folder of the Delta tables, one for each topic.
    pub(crate) fn lake(&self) -> PathBuf {
        self.dir.join("lake")
    }

    /// Returns the folder of the Avro objects, by topic and partition.
    pub(crate) fn archive(&self) -> PathBuf {
        self.dir.join("archive")
    }

    pub(crate) fn report(&self) -> PathBuf {
        self.dir.join("report.json")
    }

    /// Checks that an earlier run in this folder had the same data: a second run goes on from the first. The
    /// error names the difference.
    pub(crate) fn same_as_before(&self, what: &str) -> Result<()> {
        let file = self.dir.join("run.txt");
        match std::fs::read_to_string(&file) {
            Ok(before) if before.trim() != what => bail!(
                "{} holds a run over other data ({}; now: {what}): remove it (make demo-clean) or name another --dir",
                self.dir.display(),
                before.trim()
            ),
            Ok(_) => Ok(()),
            Err(_) => std::fs::write(&file, what).with_context(|| format!("writing {}", file.display())),
        }
    }

    /// Returns the file of a random secret: 32 bytes in base64, made by the first call.
    pub(crate) fn random_secret(&self, name: &str) -> Result<PathBuf> {
        let file = self.secrets().join(name);
        if !file.exists() {
            let mut bytes = [0; 32];
            let mut source = std::fs::File::open("/dev/urandom").context("reading random bytes")?;
            source.read_exact(&mut bytes).context("reading random bytes")?;
            write_private(&file, &STANDARD.encode(bytes))?;
        }
        Ok(file)
    }

    /// Writes a secret with a known text and returns its file. An earlier text is replaced.
    pub(crate) fn known_secret(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.secrets().join(name);
        write_private(&file, text)?;
        Ok(file)
    }
}

fn write_private(file: &Path, text: &str) -> Result<()> {
    let _ = std::fs::remove_file(file); // one with other permissions must not be kept
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_for_the_owner_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let layout = DemoFolders::create(dir.path()).unwrap();
        let file = layout.random_secret("key").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(STANDARD.decode(&text).unwrap().len(), 32);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(layout.random_secret("key").unwrap()).unwrap(), text);
    }

    #[test]
    fn another_run_in_the_same_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let layout = DemoFolders::create(dir.path()).unwrap();
        layout.same_as_before("months 1").unwrap();
        layout.same_as_before("months 1").unwrap();
        assert!(layout.same_as_before("months 2").is_err());
    }
}
