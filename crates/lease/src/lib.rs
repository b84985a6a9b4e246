//! Fenced claims on database rows: N processes take ids of one table and never the same one at the same time.
//!
//! Ids live in a side table, `sluice_claims`, one row per job and id; the user's own table is only read. Taking ids
//! is one short READ COMMITTED transaction with `FOR UPDATE SKIP LOCKED`; no transaction is open while an id is
//! worked on. What protects the work instead is a *lease* (a time, on the database's clock) and a *fence* (a number
//! that only grows): every later write names the fence it was given, and a holder whose lease was taken over matches
//! no row and lets go ([`FenceAnswer::Lost`]).
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
//! `due_at` is the one time the index serves: when a row may next be taken. While a row is claimed it equals
//! `lease_until`, so that one index `(job, state, priority, due_at, id)` finds due rows and passed leases alike. Rows
//! of one priority are one range of it; how many priorities there are is looked up at enrolment, not at every claim.
//!
//! Beside the claims stand *budgets*: how many requests a host or key may be asked in a second, shared out among
//! everyone who works through the same database (`budget.rs`).
//!
//! MariaDB 10.6+, MySQL 8.0.1+ and Postgres share one code path; what differs is in [`SqlDialect`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod budget;
mod claims;
mod database;
mod dialect;
mod enrol;
mod error;
mod fenced;
mod many;
mod shares;
mod survey;

pub use budget::{BudgetRequest, SharedBudgets};
pub use claims::{ClaimSource, ClaimTally, ClaimTerms, IdClaim, JobClaims};
pub use dialect::SqlDialect;
pub use error::LeaseError;
pub use fenced::{ClaimMark, ClaimReleaseReason, FenceAnswer};
pub use many::ClaimCheckpoint;
pub use survey::{BuriedId, ClaimOutlook, SideTableState, StateCount};
