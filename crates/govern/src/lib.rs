//! The contracts as operators and reviewers use them: the plan, compatibility, lineage, the leak proof, the
//! catalogue, drafts and samples. No worker needs this crate while it runs.
//!
//! The crate is pure: its functions take texts and return values.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod catalogue;
pub mod compatibility;
mod draft;
mod html;
pub mod leak;
mod lineage;
pub mod plan;
pub mod proof;
mod sample;
mod views;

pub use catalogue::{CataloguePage, site};
pub use draft::{ContractDrafter, DraftError, DraftFiles};
pub use proof::{LeakProof, ProofLeak};
pub use sample::{SampleError, try_sample};
pub use views::{SqlView, SqlViewSet, VIEWS_FOLDER};
