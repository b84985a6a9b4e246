//! The sections of configuration that all workers share. `sluice-config` reads the file itself.

mod limits;
mod sections;

pub use limits::{DeadLetterLimits, LimitsSection};
pub use sections::{AdminSection, BasicLogin, RegistrySection};
pub use sluice_config::{
    ConfigError, ConfigErrors, FilePlace, MemorySize, MistakeOrigin, SecretReference, load, parse, schema,
};
pub use sluice_kafka::KafkaSection;

/// Checks the sections of Kafka and the registry beyond their form. No server is asked.
///
/// # Errors
/// All mistakes of both sections at once.
pub fn check_neighbours(kafka: &KafkaSection, registry: &RegistrySection) -> Result<(), ConfigErrors> {
    let mut errors = sluice_kafka::check_properties(kafka).err().unwrap_or_default();
    errors.0.append(&mut registry.check().err().unwrap_or_default().0);
    errors.or(())
}

/// Returns the name of a process whose configuration names no instance: host name and process id, for example
/// `masker-0-17`.
///
/// The name is unique, but a restart changes it. A deployment whose restarted process must take over at once
/// names its instances.
pub fn default_instance() -> String {
    // Container runtimes set HOSTNAME. A shell may not export it, and then the kernel knows the name.
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
    let host = host.or_else(|| {
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|host| host.trim().to_owned())
    });

    // The process id tells several processes of one host apart.
    format!("{}-{}", host.unwrap_or_else(|| "host".into()), std::process::id())
}
