//! The repository's own contracts, as the pairs that `Contracts::parse` takes.

use std::path::Path;
use std::sync::LazyLock;

use sluice_contract::{Contracts, KeyRing};
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

/// The same, and every view of the repository.
pub(crate) fn with_views() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut files = all();
    for folder in ["schemas/aviation/views", "schemas/metering/views"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = format!("{folder}/{name}");
            let text = std::fs::read_to_string(root.join(&path)).unwrap();
            files.push((path, text));
        }
    }
    assert_eq!(files.len(), 13);
    files
}

/// The repository's contracts, read once.
pub(crate) fn contracts() -> &'static Contracts {
    static CONTRACTS: LazyLock<Contracts> =
        LazyLock::new(|| Contracts::parse(&all()).unwrap_or_else(|findings| panic!("{findings}")));
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
