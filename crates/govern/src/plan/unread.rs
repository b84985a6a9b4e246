//! Settings of contracts that no store of this build carries out.
//!
//! A promise to replace or delete data is refused as long as nothing keeps it: people would rely on it. A wish
//! about layout, speed or quality is shown with its future reader.

use serde::Serialize;
use sluice_contract::contract::{Contract, WarehouseMode};
use sluice_contract::contracts::ContractSet;

/// The promises that the stores of a build keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreAbilities {
    /// A store replaces the row of a key, and a tombstone removes it.
    pub replaces_rows: bool,
    /// A store deletes partitions that are older than a number of days.
    pub expires_rows: bool,
}

/// A setting that nothing carries out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UnreadSetting {
    /// The contract file.
    pub file: String,
    /// Line of the setting.
    pub line: u32,
    /// The setting, for example `warehouse.cluster`.
    pub setting: String,
    /// The present effect, or its reader to come.
    pub why: String,
    /// The setting promises to replace or to delete data. `plan` refuses it.
    pub is_promise: bool,
    /// The way to mend a refusal.
    pub hint: String,
    /// Id of the contract.
    pub contract: String,
}

/// Returns the settings of all contracts that nothing carries out, by file and line.
pub fn unread_settings(contracts: &ContractSet, abilities: StoreAbilities) -> Vec<UnreadSetting> {
    let mut found: Vec<UnreadSetting> =
        contracts.iter().flat_map(|contract| of_contract(contract, abilities)).collect();
    found.sort();
    found
}

/// Returns the settings of one contract that nothing carries out.
fn of_contract(contract: &Contract, abilities: StoreAbilities) -> Vec<UnreadSetting> {
    let mut found = Vec::new();
    let mut add = |place: &str, setting: &str, why: &str, hint: Option<&str>| {
        found.push(UnreadSetting {
            contract: contract.id.clone(),
            file: contract.file(),
            line: contract.line(place),
            setting: setting.to_owned(),
            why: why.to_owned(),
            is_promise: hint.is_some(),
            hint: hint.unwrap_or_default().to_owned(),
        });
    };

    // Promises.
    let warehouse = &contract.warehouse;
    let place = "customProperties.warehouse";
    if matches!(warehouse.mode, WarehouseMode::Upsert(_)) && !abilities.replaces_rows {
        let why =
            "no store of this build replaces rows or removes them by tombstones: every version stays a row";
        let hint = "use `mode: append`; a query takes the last row of each key";
        add(place, "warehouse.mode: upsert", why, Some(hint));
    }
    let expires = warehouse.partition.as_ref().and_then(|partition| partition.expire_days);
    if expires.is_some() && !abilities.expires_rows {
        let why = "no store of this build deletes old partitions: rows stay for ever";
        add(place, "warehouse.partition.expireDays", why, Some("remove `expireDays`"));
    }

    // Wishes.
    if !warehouse.cluster.is_empty() {
        add(
            place,
            "warehouse.cluster",
            "read by no store yet; BigQuery and Iceberg tables will read it",
            None,
        );
    }
    if warehouse.partition.is_some() {
        let why = "read by no store yet; BigQuery and Iceberg tables will read it";
        add(place, "warehouse.partition", why, None);
    }
    let quality = "schema.0.quality";
    if contract.has_setting(quality) {
        let why = "read by nothing yet; the checks of scheduled views will read it";
        add(quality, "quality", why, None);
    }
    let latency = "slaProperties.latency";
    if contract.has_setting(latency) {
        let why = "read by nothing yet; the alerts of the chart will read it";
        add(latency, "slaProperties: latency", why, None);
    }
    found
}
