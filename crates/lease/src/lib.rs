//! Fenced claims on database rows: N processes take ids of one table and never the same one at the same time.
//!
//! Ids live in a side table, `sluice_claims`, with one row per job and id. The user's own table is only read.
//! Ids are taken in one short READ COMMITTED transaction with `FOR UPDATE SKIP LOCKED`. No transaction is
//! open while an id is worked on. A *lease* (a time on the database's clock) and a *fence* (a number that
//! only grows) protect the work instead. Every later write names the fence of its claim. If the claim was
//! taken over, the write matches no row and the holder lets go ([`FenceAnswer::Lost`]).
//!
//! ```text
//!            enrol                claim: fence+1, attempt+1              done: fence+1
//!  (no row) ──────► due ─────────────────────────────────► claimed ─────────────────────► done
//!                    ▲ ▲                                     │ │ │                         │ every …
//!                    │ └────────── release: fence+1 ─────────┘ │ └── dead: fence+1 ─► dead │ (run+1)
//!                    │                                         │                       │   │
//!                    └─────────────────────────────────────────┼── revive ─────────────┴───┘
//!                              lease passed: claimed again (fence+1), or dead past the attempt cap
//! ```
//!
//! `due_at` is the time from which a row may be taken. While a row is claimed, it equals `lease_until`.
//! Therefore one index `(job, state, priority, due_at, id)` finds due rows and passed leases alike. The rows
//! of one priority are one range of this index. The list of priorities is read at enrolment, not at every
//! claim.
//!
//! *Budgets* share the requests per second of a host or key among all replicas that use the same database
//! (`budget.rs`).
//!
//! A row whose id has left the table of ids, or no longer meets the condition, is `gone` until the id comes back. One
//! that an operator has taken out is `erased` for good. Neither is claimed. `due_from` remembers when a run was due, from
//! its first claim to its end: the next run is counted from there.
//!
//! MariaDB 10.6+, MySQL 8.0.17+ and Postgres share one code path. Their differences are in [`SqlDialect`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod budget;
mod claims;
mod database;
mod dialect;
mod enrol;
mod error;
mod fenced;
mod many;
mod pooler;
mod shares;
mod survey;

pub use budget::{BudgetRequest, SharedBudgets};
pub use claims::{ClaimSource, ClaimTally, ClaimTerms, IdClaim, IdFormat, JobClaims};
pub use dialect::SqlDialect;
pub use enrol::EnrolReport;
pub use error::LeaseError;
pub use fenced::{ClaimMark, ClaimReleaseReason, FenceAnswer};
pub use many::{ClaimCheckpoint, due_slack};
pub use survey::{BuriedId, ClaimOutlook, IdRuns, SideTableState, StateCount};
