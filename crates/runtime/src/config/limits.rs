//! `limits`: the limits at which a worker stops or reports that it is not ready.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::lane::limits::DeadLetterThresholds;

/// Limits at which a worker stops, reports that it is not ready, or gives up waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// The number of dead letters that stops the worker, so that it does not drain its topic into dead letters.
    pub dead_letters: DeadLetterLimits,
    /// Seconds after which the worker is not ready if a record waits to be read and its partition has not moved.
    #[schemars(range(min = 5, max = 3600))]
    pub watchdog_seconds: u64,
    /// Seconds that the worker has to finish after a stop signal. Keep it below Kubernetes' terminationGracePeriodSeconds (30).
    #[schemars(range(min = 1, max = 3600))]
    pub drain_seconds: u64,
}

/// The number of dead letters that is too high. Each partition is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterLimits {
    /// The worker stops if more than this percentage of the last `window` records are dead letters.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u64,
    /// The percentage does not stop the worker while there are fewer dead letters than this.
    #[schemars(range(min = 1))]
    pub least: u64,
    /// Number of latest records to which `percent` refers.
    #[schemars(range(min = 100, max = 1_000_000))]
    pub window: u64,
    /// This number of dead letters in a row stops the worker.
    #[schemars(range(min = 1))]
    pub streak: u64,
}

impl Default for DeadLetterLimits {
    fn default() -> Self {
        // The lane owns the numbers, so that configuration and lane cannot disagree.
        let DeadLetterThresholds { percent, least, window, streak } = DeadLetterThresholds::default();
        Self { percent, least, window, streak }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        // Draining ends ten seconds before Kubernetes kills a pod: its terminationGracePeriodSeconds is 30.
        Self { dead_letters: DeadLetterLimits::default(), watchdog_seconds: 60, drain_seconds: 20 }
    }
}

impl LimitsSection {
    /// Returns the time that a partition may stand still although there is something to read.
    pub const fn watchdog(&self) -> Duration {
        Duration::from_secs(self.watchdog_seconds)
    }

    /// Returns the time that draining may take.
    pub const fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

impl From<DeadLetterLimits> for DeadLetterThresholds {
    fn from(section: DeadLetterLimits) -> Self {
        // Every field is named: a new setting that is not handed on does not compile.
        let DeadLetterLimits { percent, least, window, streak } = section;
        Self { percent, least, window, streak }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_the_default() {
        let section: LimitsSection =
            crate::config::parse("dead_letters: {streak: 7}\ndrain_seconds: 3\n", "f").unwrap();
        assert_eq!(section.dead_letters, DeadLetterLimits { streak: 7, ..DeadLetterLimits::default() });
        assert_eq!((section.drain(), section.watchdog_seconds), (Duration::from_secs(3), 60));
        let errors = crate::config::parse::<LimitsSection>("drain_seconds: 0\nstreak: 7\n", "f").unwrap_err();
        assert_eq!(errors.0.len(), 2, "{errors}");
    }
}
