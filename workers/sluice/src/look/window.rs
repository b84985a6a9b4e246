//! Windows of offsets from the end of a topic's partitions towards their beginnings.

use std::collections::BTreeMap;
use std::ops::Range;

use sluice_core::TopicPartition;
use sluice_kafka::PartitionWindows;

/// Cuts logs into windows, the newest first. Each window is four times as long as the one before, so that a record near
/// the end is found soon and a long log is read by few requests.
pub(super) struct BackwardWindows {
    left: PartitionWindows,
    size: i64,
}

impl BackwardWindows {
    /// Begins at the ends of these logs. The first window has `size` offsets of each.
    pub(super) fn new(logs: PartitionWindows, size: u32) -> Self {
        Self { left: logs, size: i64::from(size.max(1)) }
    }
}

impl Iterator for BackwardWindows {
    type Item = PartitionWindows;

    fn next(&mut self) -> Option<PartitionWindows> {
        self.left.retain(|_, log| !log.is_empty());
        if self.left.is_empty() {
            return None;
        }

        let mut window = PartitionWindows::new();
        for (partition, log) in &mut self.left {
            let start = log.start.max(log.end.saturating_sub(self.size));
            window.insert(*partition, start..log.end);
            log.end = start;
        }
        self.size = self.size.saturating_mul(4);
        Some(window)
    }
}

/// Returns the logs of one topic by their partitions.
pub(super) fn by_partition(logs: BTreeMap<TopicPartition, Range<i64>>) -> PartitionWindows {
    logs.into_iter().map(|(at, log)| (at.partition, log)).collect()
}

/// Returns the number of offsets in windows.
pub(super) fn length(windows: &PartitionWindows) -> u64 {
    windows.values().map(|window| u64::try_from(window.end - window.start).unwrap_or_default()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_each_log_once_from_its_end() {
        let logs = PartitionWindows::from([(0, 5..100), (1, 0..3), (2, 7..7)]);
        let windows: Vec<_> = BackwardWindows::new(logs, 10).collect();
        assert_eq!(
            windows,
            [
                PartitionWindows::from([(0, 90..100), (1, 0..3)]),
                PartitionWindows::from([(0, 50..90)]),
                PartitionWindows::from([(0, 5..50)]),
            ]
        );
    }
}
