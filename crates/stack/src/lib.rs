//! Real servers on this machine, as child processes: Apache Kafka, a schema registry, MariaDB, PostgreSQL.
//!
//! The tests, the demo and `sluice up` start the same servers. Each server listens on a free port of the
//! loopback interface, has a directory of its own and writes its log to a file. [`StackBuilder::start`]
//! starts the servers at the same time and returns when each has answered in its own protocol. The servers
//! end when the [`ServerStack`] is dropped, and also when the program that started them is killed: each runs
//! under `setpriv --pdeathsig KILL`.
//!
//! ```no_run
//! # fn main() -> Result<(), sluice_stack::StackError> {
//! let stack = sluice_stack::ServerStack::builder().kafka(1).registry().mariadb().start()?;
//! println!("brokers {} registry {}", stack.brokers(), stack.registry_url());
//! # Ok(()) }
//! ```
//!
//! With [`StackBuilder::root`] the data stays. A second start with the same root goes on where the first
//! ended, on the same ports if they are still free. `setup/setup.sh` brings the servers' programs; their
//! versions are those of `setup/versions.env`.
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
pub use guard::{BrokerGuard, TokenHandler};
pub use installation::StackInstallation;
pub use stack::{ServerStack, StackBuilder, StackProgress, StackStartStep};
