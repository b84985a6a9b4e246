//! The calls that a consumer's owner and its own callbacks may make.

use std::ffi::{CStr, CString, c_int};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka_sys as sys;

use super::client::KafkaClientError;

/// The direction of a rebalance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AssignmentChange {
    /// Partitions come.
    Assign,
    /// Partitions go.
    Revoke,
}

/// A live client as its own callbacks and its owner see it.
pub(crate) struct ConsumerHandle<'a> {
    rk: NonNull<sys::rd_kafka_t>,
    life: PhantomData<&'a ()>,
}

/// The partitions of a rebalance. This is librdkafka's own list, in order to keep its further data of each
/// partition (topic ids).
pub(crate) struct RebalanceList<'a> {
    list: NonNull<sys::rd_kafka_topic_partition_list_t>,
    life: PhantomData<&'a mut ()>,
}

impl RebalanceList<'_> {
    /// Borrows librdkafka's list.
    ///
    /// # Safety
    /// `list` is live, and only the caller has it, for the length of the caller's borrow.
    pub(super) unsafe fn new(list: NonNull<sys::rd_kafka_topic_partition_list_t>) -> Self {
        Self { list, life: PhantomData }
    }

    /// Returns the list's elements.
    fn elements(&mut self) -> &mut [sys::rd_kafka_topic_partition_t] {
        // SAFETY: the list is ours for as long as `self` is borrowed; `elems` has `cnt` elements, or is null if empty.
        unsafe {
            let list = self.list.as_ref();
            match usize::try_from(list.cnt) {
                Ok(count) if !list.elems.is_null() => std::slice::from_raw_parts_mut(list.elems, count),
                _ => &mut [],
            }
        }
    }

    /// Returns topic and partition of each element.
    pub(crate) fn places(&mut self) -> Vec<(String, i32)> {
        self.elements()
            .iter()
            // SAFETY: an element's topic is a C string that lives with the list; it is copied.
            .map(|element| (unsafe { super::client::words(element.topic) }, element.partition))
            .collect()
    }

    /// Sets the offset from which each partition is read, in the list's order; raw offsets as Kafka counts
    /// them.
    pub(crate) fn start_at(&mut self, offsets: &[i64]) {
        for (element, offset) in self.elements().iter_mut().zip(offsets) {
            element.offset = *offset;
        }
    }
}

impl ConsumerHandle<'_> {
    /// Borrows a client.
    ///
    /// # Safety
    /// `rk` is live for the length of the caller's borrow.
    pub(super) unsafe fn new(rk: NonNull<sys::rd_kafka_t>) -> Self {
        Self { rk, life: PhantomData }
    }

    /// Returns the client as a pointer for C calls.
    fn rk(&self) -> *mut sys::rd_kafka_t {
        self.rk.as_ptr()
    }

    /// Returns the group's committed offset of each partition, in the list's order; negative where the group
    /// has none. Blocks up to `wait`.
    ///
    /// # Errors
    /// The error of the call, or the first error of a partition.
    pub(crate) fn committed(
        &self,
        listed: &mut RebalanceList<'_>,
        wait: Duration,
    ) -> Result<Vec<i64>, KafkaClientError> {
        // SAFETY: a copy of a live list is made, filled, read within its count, and destroyed once. It is a copy
        // because the group's leader epochs do not belong to positions that a store knows better.
        unsafe {
            let copy = sys::rd_kafka_topic_partition_list_copy(listed.list.as_ptr());
            let code = sys::rd_kafka_committed(self.rk(), copy, millis(wait));

            let mut offsets = vec![];
            let mut done = KafkaClientError::check(code);
            if let Some(list) = NonNull::new(copy) {
                for element in RebalanceList::new(list).elements().iter() {
                    offsets.push(element.offset);
                    // One partition without an answer spoils the whole: no offset is guessed.
                    if done.is_ok() {
                        done = KafkaClientError::check(element.err);
                    }
                }
            }
            sys::rd_kafka_topic_partition_list_destroy(copy);
            done.map(|()| offsets)
        }
    }

    /// Takes the partitions, or gives them back, in the way of the group's protocol.
    pub(crate) fn change(
        &self,
        change: AssignmentChange,
        listed: &RebalanceList<'_>,
    ) -> Result<(), KafkaClientError> {
        let list = listed.list.as_ptr();

        // SAFETY: client and list are live; librdkafka copies the list; a null list takes everything away.
        unsafe {
            match (self.is_cooperative(), change) {
                // Cooperative: the list holds only the partitions that move.
                (true, AssignmentChange::Assign) => {
                    KafkaClientError::take(sys::rd_kafka_incremental_assign(self.rk(), list))
                }
                (true, AssignmentChange::Revoke) => {
                    KafkaClientError::take(sys::rd_kafka_incremental_unassign(self.rk(), list))
                }
                // Eager: each rebalance replaces the whole assignment.
                (false, AssignmentChange::Assign) => {
                    KafkaClientError::check(sys::rd_kafka_assign(self.rk(), list))
                }
                (false, AssignmentChange::Revoke) => {
                    KafkaClientError::check(sys::rd_kafka_assign(self.rk(), ptr::null()))
                }
            }
        }
    }

    /// Answers an assignment without taking any of its partitions.
    pub(crate) fn refuse(&self) -> Result<(), KafkaClientError> {
        if self.is_cooperative() {
            // An increment of nothing: the partitions that this member has stay.
            let none = TopicPartitionList::new();
            // SAFETY: client and list are live, librdkafka copies the list.
            unsafe { KafkaClientError::take(sys::rd_kafka_incremental_assign(self.rk(), none.ptr())) }
        } else {
            // SAFETY: the client is live, null means none.
            KafkaClientError::check(unsafe { sys::rd_kafka_assign(self.rk(), ptr::null()) })
        }
    }

    /// Tells whether the group's protocol moves partitions by increments.
    fn is_cooperative(&self) -> bool {
        // SAFETY: the client is live; the name is a constant of librdkafka's, or null before the first join.
        unsafe {
            let name = sys::rd_kafka_rebalance_protocol(self.rk());
            !name.is_null() && CStr::from_ptr(name) == c"COOPERATIVE"
        }
    }

    /// Tells whether the partitions belong to another consumer already.
    pub(crate) fn is_lost(&self) -> bool {
        // SAFETY: the client is live.
        unsafe { sys::rd_kafka_assignment_lost(self.rk()) == 1 }
    }

    /// Returns the group's generation as this member knows it.
    pub(crate) fn group_metadata(&self) -> Option<GroupMetadata> {
        // SAFETY: the client is live; what is returned is ours.
        let found = NonNull::new(unsafe { sys::rd_kafka_consumer_group_metadata(self.rk()) });
        found.map(|found| GroupMetadata(Arc::new(GroupGeneration(found))))
    }

    /// Stops fetching from the listed partitions, or starts again.
    pub(crate) fn pause(&self, list: &TopicPartitionList, paused: bool) -> Result<(), KafkaClientError> {
        // SAFETY: client and list are live.
        KafkaClientError::check(unsafe {
            if paused {
                sys::rd_kafka_pause_partitions(self.rk(), list.ptr())
            } else {
                sys::rd_kafka_resume_partitions(self.rk(), list.ptr())
            }
        })
    }

    /// Commits positions and waits for the answer.
    pub(crate) fn commit(&self, list: &TopicPartitionList) -> Result<(), KafkaClientError> {
        // SAFETY: client and list are live.
        KafkaClientError::check(unsafe { sys::rd_kafka_commit(self.rk(), list.ptr(), 0) })
    }

    /// Goes to `offset` in a partition that belongs to this consumer. Blocks up to `wait`.
    pub(crate) fn seek(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        wait: Duration,
    ) -> Result<(), KafkaClientError> {
        let topic = c_string(topic)?;
        // SAFETY: client and name are live; the topic is ours and destroyed once.
        unsafe {
            let topic = sys::rd_kafka_topic_new(self.rk(), topic.as_ptr(), ptr::null_mut());
            if topic.is_null() {
                return Err(KafkaClientError::of(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC));
            }
            let done = KafkaClientError::check(sys::rd_kafka_seek(topic, partition, offset, millis(wait)));
            sys::rd_kafka_topic_destroy(topic);
            done
        }
    }

    /// Returns the partitions that belong to this consumer. Without an answer the list is empty.
    pub(crate) fn assignment(&self) -> Vec<(String, i32)> {
        let mut list = ptr::null_mut();
        // SAFETY: the client is live; the list it hands out is ours, and destroyed once.
        unsafe {
            let done = KafkaClientError::check(sys::rd_kafka_assignment(self.rk(), &raw mut list));
            let (Ok(()), Some(list)) = (done, NonNull::new(list)) else { return vec![] };
            let places = RebalanceList::new(list).places();
            sys::rd_kafka_topic_partition_list_destroy(list.as_ptr());
            places
        }
    }
}

/// Turns a name into a C string. A name with a zero byte is refused.
pub(super) fn c_string(name: &str) -> Result<CString, KafkaClientError> {
    CString::new(name)
        .map_err(|_| KafkaClientError::of(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG))
}

/// Returns a time in milliseconds, as librdkafka takes it.
pub(super) fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX)
}

/// The group's generation, to send along with offsets in a transaction.
#[derive(Clone)]
pub struct GroupMetadata(Arc<GroupGeneration>);

/// librdkafka's copy of the group's metadata. It is destroyed when the last user drops it.
struct GroupGeneration(NonNull<sys::rd_kafka_consumer_group_metadata_t>);

// SAFETY: a copy of strings and numbers that is only read.
unsafe impl Send for GroupGeneration {}
// SAFETY: as above.
unsafe impl Sync for GroupGeneration {}

impl GroupMetadata {
    /// Returns the metadata as a pointer for C calls.
    pub(super) fn as_ptr(&self) -> *const sys::rd_kafka_consumer_group_metadata_t {
        self.0.0.as_ptr()
    }
}

impl Drop for GroupGeneration {
    fn drop(&mut self) {
        // SAFETY: ours, and destroyed once.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) }
    }
}
