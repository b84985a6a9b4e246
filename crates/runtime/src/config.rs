//! The sections of configuration that all workers share. How a file is read is in `sluice-config`.

mod limits;
mod sections;

pub use limits::{DeadLetterLimits, LimitsSection};
pub use sections::{AdminSection, RegistrySection};
pub use sluice_config::{ConfigError, ConfigErrors, MemorySize, SecretReference, load, parse, schema};
pub use sluice_kafka::KafkaSection;

/// The name of a process that was not given one: host name and process id. Unique, but new after every restart; a
/// deployment that wants a restart to take over at once names its instances.
pub fn default_instance() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
    let host = host.or_else(|| {
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|host| host.trim().to_owned())
    });
    format!("{}-{}", host.unwrap_or_else(|| "host".into()), std::process::id())
}
