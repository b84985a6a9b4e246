//! Real servers on this machine, as child processes: Apache Kafka, a schema registry, MariaDB, PostgreSQL.
//!
//! The tests, the demo and `sluice up` start the same thing. Each server listens on a free port of the
//! loopback interface, has a directory of its own and writes its log to a file; [`StackBuilder::start`] starts
//! them at the same time and comes back when each has answered in its own protocol. They end when the
//! [`ServerStack`] is dropped, and also when the program that started them is killed: each is run under
//! `setpriv --pdeathsig KILL`.
//!
//! ```no_run
//! # fn main() -> Result<(), sluice_stack::StackError> {
//! let stack = sluice_stack::Stack::builder().kafka(1).registry().mariadb().start()?;
//! println!("brokers {} registry {}", stack.brokers(), stack.registry_url());
//! # Ok(()) }
//! ```
//!
//! With [`StackBuilder::root`] the data stays: a second start with the same root goes on where the first ended,
//! on the same ports if they are still free. What the servers are made of is brought by `setup/setup.sh`;
//! the versions are those of `setup/versions.env`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod error;
mod guard;
mod installation;
mod kafka;
mod mariadb;
mod owner;
mod ports;
mod postgres;
mod probe;
pub mod process;
mod registry;
mod server;
mod stack;

pub use error::StackError;
pub use guard::BrokerGuard;
pub use installation::StackInstallation;
pub use stack::{ServerStack, StackBuilder, StackProgress, StackStartStep};
