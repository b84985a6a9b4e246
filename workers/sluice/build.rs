//! Tells the program its commit, its build profile and its features.
//!
//! The commit is `SLUICE_COMMIT` if it is set, for builds without a repository such as an image, else that of the
//! repository. A tarball has neither, and its commit is unknown.

use std::env;
use std::process::Command;

fn main() {
    // Every feature of the package is a variable of the environment. `default` is no feature of its own.
    let named =
        |(name, _): (String, String)| name.strip_prefix("CARGO_FEATURE_").map(|name| name.to_lowercase());
    let mut features: Vec<String> = env::vars().filter_map(named).filter(|name| name != "default").collect();
    features.sort();
    let profile = env::var("PROFILE").unwrap_or_default();

    println!("cargo:rustc-env=SLUICE_BUILD_FEATURES={}", features.join(","));
    println!("cargo:rustc-env=SLUICE_BUILD_PROFILE={profile}");
    println!("cargo:rustc-env=SLUICE_BUILD_COMMIT={}", commit());
    println!("cargo:rerun-if-env-changed=SLUICE_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
}

/// Returns the commit, or an empty text.
fn commit() -> String {
    if let Ok(commit) = env::var("SLUICE_COMMIT") {
        return commit.trim().to_owned();
    }

    // A repository above the sources that does not know them is that of somebody else.
    if git(&["ls-files", "--error-unmatch", "build.rs"]).is_none() {
        return String::new();
    }
    // `logs/HEAD` grows with every commit and checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&log).is_file()
    {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_default()
}

/// Runs git in the folder of the package. `None` if there is no git, or if it fails.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    Some(text.trim().to_owned())
}
