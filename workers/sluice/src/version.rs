//! `sluice version`: the build, for reports about faults.

use clap::Args;
use serde_json::json;
use sluice_kafka::{ClientVersion, client_version};

use crate::cli::CommandFormat;
use crate::exit::{CommandFinding, CommandResult};

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print JSON instead of text.
    #[arg(long, value_enum, default_value = "text")]
    output: CommandFormat,
}

/// Prints the version, the commit, the profile, the features and the version of librdkafka.
pub(crate) fn version(args: &VersionArgs) -> CommandResult {
    // The build script gives the three. A tarball without git has no commit.
    let version = env!("CARGO_PKG_VERSION");
    let commit = Some(env!("SLUICE_BUILD_COMMIT")).filter(|commit| !commit.is_empty());
    let profile = env!("SLUICE_BUILD_PROFILE");
    let features: Vec<&str> =
        env!("SLUICE_BUILD_FEATURES").split(',').filter(|name| !name.is_empty()).collect();

    let ClientVersion { version: librdkafka, features: of_client } = client_version();
    match args.output {
        CommandFormat::Json => println!(
            "{:#}",
            json!({
                "version": version, "commit": commit, "profile": profile, "features": features,
                "librdkafka": {"version": librdkafka, "features": of_client},
            })
        ),
        CommandFormat::Text => {
            let listed = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let of_client: Vec<&str> = of_client.iter().map(String::as_str).collect();
            println!("sluice      {version}");
            println!("commit      {}", commit.unwrap_or("unknown"));
            println!("profile     {profile}");
            println!("features    {}", listed(&features));
            println!("librdkafka  {librdkafka} ({})", listed(&of_client));
        }
    }
    Ok(CommandFinding::Nothing)
}
