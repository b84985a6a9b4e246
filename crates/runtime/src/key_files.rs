//! The files of masking keys while a worker runs: who may read them, and whether they have changed.
//!
//! A worker reads its keys once, at its start. A file that changes later has no effect until the next start,
//! and the worker warns of it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::config::SecretReference;
use crate::contracts::KeysSection;
use crate::status::WorkerStatus;

/// Time between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The files of a worker's keys, as they were when it started.
pub struct KeyFileWatcher {
    /// Path of each file → a hash of its content; `None` if it could not be read.
    started_with: BTreeMap<String, Option<u64>>,
}

impl KeyFileWatcher {
    /// Takes note of the files that the section names.
    pub fn new(section: &KeysSection) -> Self {
        let files = section.values().flat_map(BTreeMap::values).filter_map(|secret| match secret {
            SecretReference::File(path) => Some(path),
            SecretReference::Env(_) => None,
        });
        Self { started_with: files.map(|path| (path.clone(), content_hash(path))).collect() }
    }

    /// Returns the files that every user of the machine can read.
    pub fn readable_by_all(&self) -> Vec<&str> {
        self.started_with
            .keys()
            .map(String::as_str)
            .filter(|path| is_readable_by_all(Path::new(path)))
            .collect()
    }

    /// Returns the files whose content differs from that at the start. A file that cannot be read now, for
    /// example while it is replaced, is not among them.
    pub fn changed(&self) -> Vec<&str> {
        let differs = |(path, before): (&'_ String, &Option<u64>)| {
            let now = content_hash(path);
            now.is_some() && now != *before
        };
        self.started_with.iter().filter(|entry| differs(*entry)).map(|(path, _)| path.as_str()).collect()
    }

    /// Starts a task that warns of files that every user can read, and of each change, until `stop`. `/status`
    /// shows both. It must be called on a runtime of tokio.
    pub fn start(self, status: WorkerStatus, stop: CancellationToken) {
        tokio::spawn(self.watch(status, stop));
    }

    /// Looks at the files until `stop`.
    async fn watch(self, status: WorkerStatus, stop: CancellationToken) {
        let open = self.readable_by_all();
        for file in &open {
            tracing::warn!(
                file,
                "every user of this machine can read the key file; expected mode 0400 or 0440"
            );
        }
        status.note("key_files_readable_by_all", json!(open));

        let mut warned: Vec<String> = Vec::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
            let changed: Vec<String> = self.changed().into_iter().map(str::to_owned).collect();
            if changed == warned {
                continue;
            }
            for file in changed.iter().filter(|file| !warned.contains(file)) {
                tracing::warn!(
                    file,
                    "the key file has changed; the worker goes on with the key that it read at its start: restart \
                     it to use the new one"
                );
            }
            status.note("key_files_changed", json!(changed));
            warned = changed;
        }
    }
}

/// Returns a hash of a file's content; `None` if the file cannot be read. The content is wiped from memory.
fn content_hash(path: &str) -> Option<u64> {
    let content = Zeroizing::new(std::fs::read(path).ok()?);
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Some(hasher.finish())
}

/// Returns true if users other than the owner and the group may read the file.
fn is_readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_file_that_changes_or_is_open_to_all_is_named() {
        let path = std::env::temp_dir().join(format!("sluice-key-{}", std::process::id()));
        let name = path.display().to_string();
        let section: KeysSection =
            [("k".to_owned(), [(1, SecretReference::File(name.clone()))].into())].into();
        let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();

        std::fs::write(&path, "one").unwrap();
        set_mode(0o644);
        let watcher = KeyFileWatcher::new(&section);
        assert_eq!((watcher.readable_by_all(), watcher.changed()), (vec![name.as_str()], vec![]));
        set_mode(0o640);
        std::fs::write(&path, "two").unwrap();
        assert_eq!((watcher.readable_by_all(), watcher.changed()), (vec![], vec![name.as_str()]));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(watcher.changed(), [""; 0]);
    }
}
