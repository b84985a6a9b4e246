//! Which user a database server runs as, and that its directory is that user's.
//!
//! `PostgreSQL` refuses to run as root and `MariaDB` should not, so as root they run as their own users.

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
    fn from_name(name: &str) -> Option<Self> {
        let output = Command::new("getent").args(["passwd", name]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let mut fields = text.trim_end().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let mut ids = fields.skip(1);
        Some(Self { name, uid: ids.next()?.parse().ok()?, gid: ids.next()?.parse().ok()? })
    }
}

/// Who we are: the owner of our own entry under /proc.
fn our_uid() -> u32 {
    std::fs::metadata("/proc/self").map_or(u32::MAX, |meta| meta.uid())
}

/// The user a server's processes run as; `None` = the one who started the stack.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerOwner(Option<SystemUser>);

impl ServerOwner {
    /// As root: the first of `names` that exists here. Else: whoever we are.
    pub(crate) fn choose(names: &[&str]) -> Result<Self, StackError> {
        if our_uid() != 0 {
            return Ok(Self(None));
        }
        names.iter().find_map(|name| SystemUser::from_name(name)).map(|user| Self(Some(user))).ok_or_else(
            || StackError::NotInstalled {
                what: "a user for the database server",
                looked_for: names.join(", "),
            },
        )
    }

    /// A command that runs `program` as this user and ends with us.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.0 {
            Some(user) => process::guarded_as(&user.name, user.gid, program),
            None => process::guarded(program),
        }
    }

    /// Makes `dir` (new or there) this user's own.
    pub(crate) fn own(&self, dir: &Path) -> Result<(), StackError> {
        std::fs::create_dir_all(dir).map_err(StackError::io(format!("create {}", dir.display())))?;
        self.hand_over(dir)
    }

    /// Makes one file or folder this user's.
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

    /// Where this user can keep data that belongs to `dir`: `dir` itself if every folder above lets the user
    /// through; else a folder under /var/tmp, tied to `dir` by `tie`. (A checkout under root's home is the
    /// usual case: nobody but root may pass through there.)
    pub(crate) fn reachable(&self, dir: &Path, tie: &str) -> Result<PathBuf, StackError> {
        if self.0.is_none() || passable(dir) {
            return Ok(dir.to_path_buf());
        }
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let aside = Path::new("/var/tmp").join(format!("sluicegate-{tie}")).join(&*name);
        let parent = aside.parent().unwrap_or(&aside);
        std::fs::create_dir_all(parent).map_err(StackError::io(format!("create {}", parent.display())))?;
        // Nobody else may have made that name before us.
        let meta = std::fs::symlink_metadata(parent)
            .map_err(StackError::io(format!("look at {}", parent.display())))?;
        if !meta.is_dir() || meta.uid() != our_uid() {
            let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
            return Err(StackError::Io {
                doing: format!("use {}: it is not ours", parent.display()),
                source,
            });
        }
        Ok(aside)
    }
}

/// Whether any user may pass through every folder above `dir`.
fn passable(dir: &Path) -> bool {
    let Ok(whole) = std::path::absolute(dir) else { return false };
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
