//! Exponential back-off with full jitter, as a pure function of the attempt and a random number.

use std::time::Duration;

/// `random(0 ..= min(cap, base · 2^attempt))`: the "full jitter" of Marc Brooker, "Exponential Backoff And
/// Jitter" (AWS Architecture Blog, 2015). The floor keeps a retry from being immediate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first wait.
    pub base: Duration,
    /// Upper bound of every wait.
    pub cap: Duration,
    /// Lower bound of every wait.
    pub floor: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(30),
            floor: Duration::from_millis(10),
        }
    }
}

impl Backoff {
    /// Returns the wait before retry `attempt` (0 is the first). `unit` is a random number in `0.0..=1.0`. A
    /// number outside of the range is clamped to it, and one that is not finite counts as 1.0.
    pub fn wait(&self, attempt: u32, unit: f64) -> Duration {
        // A number that is not finite has the longest wait, which is the safe side for the neighbour.
        let unit = if unit.is_finite() { unit.clamp(0.0, 1.0) } else { 1.0 };
        // Attempts above 31 wait as long as attempt 31: a larger power does not fit into 32 bits.
        let grown = self.base.saturating_mul(1u32.checked_shl(attempt.min(31)).unwrap_or(u32::MAX));
        let most = grown.min(self.cap);

        // A floor above the cap wins over the cap.
        most.mul_f64(unit).max(self.floor).min(self.cap.max(self.floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_never_overflows() {
        let backoff = Backoff::default();
        assert_eq!(backoff.wait(0, 1.0), Duration::from_millis(100));
        assert_eq!(backoff.wait(3, 1.0), Duration::from_millis(800));
        assert_eq!(backoff.wait(60, 1.0), Duration::from_secs(30));
        assert_eq!(backoff.wait(u32::MAX, f64::NAN), Duration::from_secs(30));
    }

    #[test]
    fn never_below_the_floor() {
        assert_eq!(Backoff::default().wait(5, 0.0), Duration::from_millis(10));
        assert_eq!(Backoff::default().wait(5, -3.0), Duration::from_millis(10));
    }
}
