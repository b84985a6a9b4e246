//! The only unsafe code of the workspace: librdkafka's C calls, each behind a type that cannot be used
//! wrongly. One more call decides how the allocator shares its memory among librdkafka's many threads
//! ([`limit_arenas`]).
//!
//! rust-rdkafka's consumer reads through the events interface, one message at a time (0.75 CPU-seconds per
//! million records against 0.45 by the batch call). For every record its producer makes a C string, looks the
//! topic up and boxes the headers. Therefore two hot ways go to the C functions directly: a group's fetched
//! batch, and the hand-over of outputs. Configuration, error codes and everything that is not on the way of a
//! record stay with rust-rdkafka.
//!
//! Permissions ([`acl`]) have no calls in rust-rdkafka at all. Tokens ([`token`]) are handed to every kind of
//! client.
//!
//! All files rely on these rules of librdkafka's header (`rdkafka.h`, 2.12):
//! * a client handle may be used from any thread ("the library is completely thread safe");
//! * every callback but the log's runs on the thread that polls;
//! * a message, its topic and its headers live until `rd_kafka_message_destroy`;
//! * with `RD_KAFKA_MSG_F_COPY`, keys and values are copied before `rd_kafka_produceva` returns.

#![allow(unsafe_code)]

mod acl;
mod arenas;
mod batch;
mod callbacks;
mod client;
mod handle;
mod member;
mod partitioner;
mod sender;
mod token;

pub(super) use acl::{create_acls, delete_acls, describe_acls};
pub use arenas::limit_arenas;
pub(super) use batch::LentMessage;
pub(super) use callbacks::ClientCallbacks;
pub(super) use client::KafkaClientError;
pub use handle::GroupMetadata;
pub(super) use handle::{AssignmentChange, ConsumerHandle, RebalanceList};
pub(super) use member::NativeConsumer;
pub use partitioner::partition_of;
pub(super) use sender::NativeProducer;
pub(super) use token::SaslTokenClient;
