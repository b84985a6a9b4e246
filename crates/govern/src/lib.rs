//! What an operator and a reviewer need of contracts: the plan, compatibility, lineage, the leak proof, the catalogue,
//! drafts and samples. Nothing here is needed while a worker runs.
//!
//! Pure: it takes texts and gives back values.
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
pub use proof::LeakProof;
pub use sample::{SampleError, try_sample};
pub use views::{SqlView, SqlViewSet, VIEWS_FOLDER};
