//! `limits`: where a worker stops by itself.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::lane::limits::DeadLetterThresholds;

/// When a worker stops, says that it is not well, or gives up waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// How many dead letters stop the worker, rather than drain its topic into dead letters.
    pub dead_letters: DeadLetterLimits,
    /// Not ready if a record waits to be read and its partition has not moved for so many seconds.
    #[schemars(range(min = 5, max = 3600))]
    pub watchdog_seconds: u64,
    /// Told to stop, the worker has so many seconds to finish; keep it below Kubernetes' terminationGracePeriodSeconds (30).
    #[schemars(range(min = 1, max = 3600))]
    pub drain_seconds: u64,
}

/// Dead letters that are too many, per partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterLimits {
    /// More than so many percent of the last `window` records stop the worker.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u64,
    /// Fewer dead letters than this never do, whatever the percentage.
    #[schemars(range(min = 1))]
    pub least: u64,
    /// Records looked back on.
    #[schemars(range(min = 100, max = 1_000_000))]
    pub window: u64,
    /// So many in a row stop the worker.
    #[schemars(range(min = 1))]
    pub streak: u64,
}

impl Default for DeadLetterLimits {
    fn default() -> Self {
        let DeadLetterThresholds { percent, least, window, streak } = DeadLetterThresholds::default();
        Self { percent, least, window, streak }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self { dead_letters: DeadLetterLimits::default(), watchdog_seconds: 60, drain_seconds: 20 }
    }
}

impl LimitsSection {
    /// How long a partition may stand still though there is something to read.
    pub const fn watchdog(&self) -> Duration {
        Duration::from_secs(self.watchdog_seconds)
    }

    /// How long draining may take.
    pub const fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

impl From<DeadLetterLimits> for DeadLetterThresholds {
    fn from(section: DeadLetterLimits) -> Self {
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
