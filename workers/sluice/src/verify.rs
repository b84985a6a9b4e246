//! `sluice verify`: does the world hold what the contracts and the receipts say?

mod conservation;

use crate::cli::VerifyArgs;
use crate::exit::Ended;

pub(crate) fn verify(args: &VerifyArgs) -> Ended {
    conservation::verify(args)
}
