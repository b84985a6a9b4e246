//! The user that a database server runs as, and the ownership of its directory.
//!
//! `PostgreSQL` refuses to run as root, and `MariaDB` should not. Therefore, as root, each runs as its own
//! user.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{StackError, process};

/// A line of the system's user database.
#[derive(Debug, Clone)]
struct SystemUser {
    name: String,
    uid: u32,
    gid: u32,
}

impl SystemUser {
    /// Looks a user up by name; `None` if the system does not know the user.
    fn from_name(name: &str) -> Option<Self> {
        let output = Command::new("getent").args(["passwd", name]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;

        // A line is `name:password:uid:gid:…`.
        let mut fields = text.trim_end().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let mut ids = fields.skip(1);
        Some(Self { name, uid: ids.next()?.parse().ok()?, gid: ids.next()?.parse().ok()? })
    }
}

/// Returns the id of the user that runs this program: the owner of our own entry under /proc.
fn our_uid() -> u32 {
    std::fs::metadata("/proc/self").map_or(u32::MAX, |meta| meta.uid())
}

/// The user of a server's processes. `None` is the user that started the stack.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerOwner(Option<SystemUser>);

impl ServerOwner {
    /// Returns, as root, the first user of `names` that exists on this machine. Otherwise it returns the
    /// current user.
    pub(crate) fn choose(names: &[&str]) -> Result<Self, StackError> {
        // Only root may start processes as another user, and only root has to.
        if our_uid() != 0 {
            return Ok(Self(None));
        }

        names.iter().find_map(|name| SystemUser::from_name(name)).map(|user| Self(Some(user))).ok_or_else(
            || StackError::NotInstalled {
                what: "a user for the database server",
                looked_for: format!("one of {}", names.join(", ")),
            },
        )
    }

    /// Returns a command that runs `program` as this user and ends with this program.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.0 {
            Some(user) => process::guarded_as(&user.name, user.gid, program),
            None => process::guarded(program),
        }
    }

    /// Creates `dir` if it does not exist, and makes this user its owner.
    pub(crate) fn own(&self, dir: &Path) -> Result<(), StackError> {
        std::fs::create_dir_all(dir).map_err(StackError::io(format!("create {}", dir.display())))?;
        self.hand_over(dir)
    }

    /// Makes this user the owner of one file or folder.
    pub(crate) fn hand_over(&self, path: &Path) -> Result<(), StackError> {
        match &self.0 {
            Some(user) => chown(path, Some(user.uid), Some(user.gid)).map_err(StackError::io(format!(
                "give {} to {}",
                path.display(),
                user.name
            ))),
            None => Ok(()),
        }
    }

    /// Returns a place for data that belongs to `dir` and that this user can reach. It is `dir` itself if
    /// every folder above lets the user through. Otherwise it is a folder under /var/tmp, tied to `dir` by
    /// `tie`. (The usual case is a checkout under root's home: only root may pass through there.)
    pub(crate) fn reachable(&self, dir: &Path, tie: &str) -> Result<PathBuf, StackError> {
        if self.0.is_none() || passable(dir) {
            return Ok(dir.to_path_buf());
        }

        // The folder aside has the tie in its name: two checkouts do not meet there.
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let aside = Path::new("/var/tmp").join(format!("sluicegate-{tie}")).join(&*name);
        let parent = aside.parent().unwrap_or(&aside);
        std::fs::create_dir_all(parent).map_err(StackError::io(format!("create {}", parent.display())))?;

        // Another user may have made that name before us, since /var/tmp is open to all.
        let meta = std::fs::symlink_metadata(parent)
            .map_err(StackError::io(format!("look at {}", parent.display())))?;

        // The metadata are those of the name itself: a symbolic link is refused as well.
        if !meta.is_dir() || meta.uid() != our_uid() {
            let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
            return Err(StackError::Io {
                doing: format!("use {}: expected a folder of the current user", parent.display()),
                source,
            });
        }
        Ok(aside)
    }
}

/// Tells whether any user may pass through every folder above `dir`.
fn passable(dir: &Path) -> bool {
    let Ok(whole) = std::path::absolute(dir) else { return false };

    // The execute bit for all users lets a user pass through a folder.
    whole
        .ancestors()
        .skip(1)
        .all(|folder| std::fs::metadata(folder).is_ok_and(|meta| meta.mode() & 0o001 != 0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_closed_folder_above_is_noticed() {
        let top = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o711)).tempdir().unwrap();
        let dir = top.path().join("data");
        assert!(passable(&dir));
        std::fs::set_permissions(top.path(), PermissionsExt::from_mode(0o700)).unwrap();
        assert!(!passable(&dir));
    }
}
