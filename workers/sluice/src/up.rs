//! `sluice up`: the local stack, until Ctrl-C.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sluice_runtime::shutdown;
use sluice_stack::{ServerStack, StackProgress, StackStartStep};

use crate::cli::UpArgs;
use crate::exit::{CommandFinding, CommandResult};

/// The file of shell variables in the stack's folder.
const SETTINGS: &str = "stack.env";

/// Starts the servers, prints their addresses and stops them at Ctrl-C or SIGTERM.
pub(crate) fn up(args: &UpArgs) -> CommandResult {
    // The start-up report goes to standard error, the addresses to standard output.
    let mut builder = ServerStack::builder()
        .kafka(usize::from(args.kafka))
        .registry()
        .mariadb()
        .postgres()
        .on_progress(|StackProgress { server, step }| match step {
            StackStartStep::Starting => eprintln!("{server:<10} starting"),
            StackStartStep::Ready(time) => eprintln!("{server:<10} ready after {:.1} s", time.as_secs_f64()),
        });
    if let Some(dir) = &args.dir {
        // A file of a run that was cut short names servers that are gone.
        let _ = std::fs::remove_file(dir.join(SETTINGS));
        builder = builder.root(dir);
    }
    let stack = builder.start()?;

    // The database URLs have passwords that were made for this stack alone, on loopback. Its user needs them.
    println!("brokers   {}", stack.brokers());
    println!("registry  {}", stack.registry_url());
    println!("mariadb   {}", stack.mariadb_url());
    println!("postgres  {}", stack.postgres_url());
    println!("data      {}", stack.root().display());
    let settings = write_settings(&stack)?;
    println!("settings  {}", settings.display());
    eprintln!(
        "Ctrl-C stops the servers{}",
        if args.dir.is_some() { "; their data stays" } else { " and removes their data" }
    );

    // Nothing else runs here: the servers are processes of their own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    runtime.block_on(async {
        shutdown::signal_token().context("installing signal handlers")?.cancelled().await;
        anyhow::Ok(())
    })?;
    // The addresses are of no use any more.
    std::fs::remove_file(&settings).with_context(|| format!("removing {}", settings.display()))?;
    stack.stop()?;
    Ok(CommandFinding::Nothing)
}

/// Writes the addresses as variables that a shell reads with `. stack.env`. Only its owner may read the file, because
/// the databases' URLs have passwords. Returns its path.
fn write_settings(stack: &ServerStack) -> anyhow::Result<PathBuf> {
    let path = stack.root().join(SETTINGS);
    let text = settings_text(&[
        ("BROKERS", stack.brokers()),
        ("REGISTRY", stack.registry_url()),
        ("MARIADB", stack.mariadb_url()),
        ("POSTGRES", stack.postgres_url()),
    ]);
    put_settings(&path, &text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Writes the file under a temporary name and moves it into place: who waits for it finds it whole.
fn put_settings(path: &Path, text: &str) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let _ = std::fs::remove_file(&part); // of a run that was cut short
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&part, path)
}

/// Returns one `export NAME='value'` for each variable.
fn settings_text(variables: &[(&str, &str)]) -> String {
    variables
        .iter()
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_settings_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SETTINGS);
        let value = "postgres://u:p'$x \"`y@127.0.0.1:1/d";
        put_settings(&path, &settings_text(&[("ONE", value), ("TWO", "2")])).unwrap();
        let output = std::process::Command::new("sh")
            .args(["-c", r#". "$0" && printf '%s|%s' "$ONE" "$TWO""#])
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{value}|2"));
    }

    #[test]
    fn only_its_owner_reads_the_settings() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SETTINGS);
        for _ in 0..2 {
            put_settings(&path, "").unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
