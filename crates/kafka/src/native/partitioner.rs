//! The partition of a key.

use std::ptr;

use rdkafka_sys as sys;

/// Returns the partition, from 0, that Java's default partitioner and ours choose for a key among this number of
/// partitions: murmur2 (librdkafka's `murmur2_random`). The number must be above zero.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    debug_assert!(partitions > 0, "a topic has a partition");
    // SAFETY: the function hashes `key.len()` bytes at `key`. It does not look at the topic's handle or at the opaque
    // pointers (`rd_kafka_msg_partitioner_murmur2` in rdkafka_msg.c), so they may be null.
    unsafe {
        sys::rd_kafka_msg_partitioner_murmur2(
            ptr::null(),
            key.as_ptr().cast(),
            key.len(),
            partitions.max(1),
            ptr::null_mut(),
            ptr::null_mut(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kafka's own hashes of these keys (`UtilsTest.testMurmur2`), each without its sign bit, modulo a large number of
    /// partitions.
    #[test]
    fn a_key_is_in_the_partition_that_java_chooses() {
        let hashes = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in hashes {
            assert_eq!(partition_of(key.as_bytes(), 1009), (hash & 0x7fff_ffff) % 1009, "{key}");
        }
    }
}
