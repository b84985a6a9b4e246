//! The repository's own contracts, as the pairs that `ContractSet::parse` takes.

use std::path::Path;
use std::sync::LazyLock;

use sluice_contract::{ContractSet, KeyRing};
use zeroize::Zeroizing;

pub(crate) const FLIGHT: &str = "schemas/aviation/flight";
pub(crate) const METER_READING: &str = "schemas/metering/meter-reading";
pub(crate) const ACCOUNT_PROFILE: &str = "schemas/metering/account-profile";

/// Every contract file of the repository.
pub(crate) fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut files = Vec::new();
    for folder in [FLIGHT, "schemas/aviation/aircraft", METER_READING, ACCOUNT_PROFILE, "schemas/sluice/fact"]
    {
        for name in ["value.avsc", "contract.odcs.yaml"] {
            let path = format!("{folder}/{name}");
            if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
                files.push((path, text));
            }
        }
    }
    assert_eq!(files.len(), 9);
    files
}

/// The repository's contracts, read once.
pub(crate) fn contracts() -> &'static ContractSet {
    static CONTRACTS: LazyLock<ContractSet> =
        LazyLock::new(|| ContractSet::parse(&all()).unwrap_or_else(|findings| panic!("{findings}")));
    &CONTRACTS
}

/// The key `pseudonym` in epochs 1 and 2.
pub(crate) fn keys() -> KeyRing {
    let mut keys = KeyRing::new();
    for epoch in [1, 2] {
        let secret = (0..32).map(|i: u8| i.wrapping_mul(7).wrapping_add(epoch)).collect();
        keys.insert("pseudonym", epoch.into(), Zeroizing::new(secret)).unwrap();
    }
    keys
}
