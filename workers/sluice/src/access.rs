//! The section `access` of the file for `plan`, `apply` and `verify`: the principals of roles and workers.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use sluice_contract::{ContractSelection, ContractSet};
use sluice_govern::plan::{APPLY, AclPrincipals, MemberSeat, SeatShare, VERIFY};
use sluice_runtime::config::ConfigErrors;
use sluice_runtime::contracts;

use crate::workers;

/// The section in its raw form. Every part of it may be left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAccess {
    /// Role of a contract → Kafka principals that have it. Default: `User:<role>`.
    #[serde(default)]
    roles: BTreeMap<String, Vec<String>>,
    /// Worker → its principals and its group. Default: `User:<worker>` and the worker's usual group.
    #[serde(default)]
    #[schemars(schema_with = "seats_schema")]
    workers: BTreeMap<String, Option<RawSeat>>,
}

/// One worker's seat.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawSeat {
    /// Kafka principals, for example `User:masker`.
    #[serde(default)]
    principals: Option<Vec<String>>,
    /// The worker's `group`.
    #[serde(default)]
    group: Option<String>,
    /// Principals of workers that serve a part of the contracts (`contracts` of the masker or the normaliser). With
    /// entries here, only `principals` that are written out have the permissions on all contracts.
    #[serde(default)]
    parts: Vec<RawSeatShare>,
}

/// The principals of workers that serve a part of the contracts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawSeatShare {
    /// The worker's `contracts`, for example `shop/*`.
    #[schemars(length(min = 1))]
    contracts: Vec<String>,
    /// Kafka principals, for example `User:masker-shop`.
    #[schemars(length(min = 1))]
    principals: Vec<String>,
}

impl RawAccess {
    /// Checks the section and fills in the defaults.
    ///
    /// # Errors
    /// Fails with every name that is not a principal, and every pattern that is no contract's.
    pub(crate) fn check(&self, contracts: &ContractSet) -> Result<AclPrincipals, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let mut principals = AclPrincipals::default();

        // Roles. The plan gives a role without an entry its default.
        for (role, who) in &self.roles {
            named(&format!("access.roles.{role}"), who, &mut errors);
            principals.roles.insert(role.clone(), who.clone());
        }

        // Workers and commands. The schema has refused every other name.
        for (name, raw) in &self.workers {
            let Some(raw) = raw else { continue };
            // An entry may name principals, a group or both. The rest stays as usual.
            let mut seat = MemberSeat::usual(name);
            if let Some(who) = &raw.principals {
                named(&format!("access.workers.{name}.principals"), who, &mut errors);
                seat.principals.clone_from(who);
            }
            if let Some(group) = &raw.group {
                seat.group.clone_from(group);
            }
            raw.check_shares(name, contracts, &mut seat, &mut errors);
            principals.members.insert(name.clone(), seat);
        }
        errors.or(principals)
    }
}

impl RawSeat {
    /// Adds the principals that serve a part of the contracts to the seat of the worker `name`.
    fn check_shares(
        &self,
        name: &str,
        contracts: &ContractSet,
        seat: &mut MemberSeat,
        errors: &mut ConfigErrors,
    ) {
        let path = format!("access.workers.{name}.parts");
        if self.parts.is_empty() {
            return;
        }
        if !selects(name) {
            let able: Vec<&str> = workers::names().filter(|name| selects(name)).collect();
            let hint = format!("{} can", able.join(" and "));
            errors.add(path.clone(), "cannot serve a part of the contracts", Some(hint));
        }

        // The usual principal would have the permissions on all contracts.
        if self.principals.is_none() {
            seat.principals.clear();
        }
        for (index, share) in self.parts.iter().enumerate() {
            named(&format!("{path}[{index}].principals"), &share.principals, errors);
            let selected = contracts::selection(&share.contracts, contracts);
            let selection = selected.unwrap_or_else(|found| {
                for mistake in found.0 {
                    errors.add(format!("{path}[{index}].{}", mistake.path), mistake.message, mistake.hint);
                }
                ContractSelection::default()
            });
            seat.shares.push(SeatShare { principals: share.principals.clone(), contracts: selection });
        }
    }
}

/// Tells whether a worker's file has the setting `contracts`.
fn selects(name: &str) -> bool {
    workers::find(name).is_some_and(|worker| (worker.config_schema)()["properties"]["contracts"].is_object())
}

/// Returns the schema of the seats: a key for each worker, and for the two commands that have permissions of
/// their own.
fn seats_schema(generator: &mut SchemaGenerator) -> Schema {
    let seat = generator.subschema_for::<Option<RawSeat>>().to_value();
    let names = workers::names().chain([APPLY, VERIFY]);
    let properties: serde_json::Map<_, _> = names.map(|name| (name.to_owned(), seat.clone())).collect();
    json_schema!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// Adds an error for each name that is not a principal.
fn named(path: &str, who: &[String], errors: &mut ConfigErrors) {
    for (index, principal) in who.iter().enumerate() {
        let named =
            principal.split_once(':').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty());
        // `User:*` is everyone in Kafka, and `User:ANONYMOUS` everyone who does not log in: both would open a raw
        // topic.
        let is_anybody = principal
            .split_once(':')
            .is_some_and(|(_, name)| name.trim() == "*" || name.trim().eq_ignore_ascii_case("anonymous"));
        if !named || is_anybody {
            let hint = "write type and name, for example `User:analyst`; `*` and `ANONYMOUS` are not allowed"
                .to_owned();
            errors.add(format!("{path}[{index}]"), "expected the name of a principal", Some(hint));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn demo_contracts() -> ContractSet {
        let schemas = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
        contracts::load(&schemas).unwrap()
    }

    #[test]
    fn a_part_of_the_contracts_has_principals_of_its_own() {
        let raw: RawAccess = serde_json::from_str(
            r#"{"workers": {"masker": {"parts": [{"contracts": ["aviation/*"], "principals": ["User:masker-air"]}]}}}"#,
        )
        .unwrap();
        let principals = raw.check(&demo_contracts()).unwrap();
        let seat = &principals.members["masker"];
        assert!(seat.principals.is_empty(), "the usual principal would read every raw topic");
        assert_eq!(seat.shares[0].principals, ["User:masker-air"]);
    }

    #[test]
    fn a_part_that_is_none_is_named_with_a_hint() {
        let raw: RawAccess = serde_json::from_str(
            r#"{"workers": {"masker": {"parts": [{"contracts": ["aviaton/*"], "principals": ["User:m"]}]},
                            "sink": {"parts": [{"contracts": ["aviation/*"], "principals": ["User:s"]}]}}}"#,
        )
        .unwrap();
        let errors = raw.check(&demo_contracts()).unwrap_err();
        let paths: Vec<_> = errors.0.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["access.workers.masker.parts[0].contracts[0]", "access.workers.sink.parts"]);
        assert_eq!(errors.0[0].hint.as_deref(), Some("did you mean `aviation/*`?"));
    }

    #[test]
    fn seats_are_taken_by_name_and_nobody_is_everybody() {
        let raw: RawAccess = serde_json::from_str(
            r#"{"roles": {"analysts": ["User:ann", "bob", "User:*", "User:ANONYMOUS"]},
                "workers": {"masker": {"group": "hide"}, "verify": {"principals": ["User:v"]}}}"#,
        )
        .unwrap();
        let contracts = demo_contracts();
        let paths: Vec<_> =
            raw.check(&contracts).unwrap_err().0.into_iter().map(|error| error.path).collect();
        let expected = [1, 2, 3].map(|at| format!("access.roles.analysts[{at}]"));
        assert_eq!(paths, expected);
        let raw = RawAccess { roles: BTreeMap::new(), ..raw };
        let principals = raw.check(&contracts).unwrap();
        let seat = &principals.members["masker"];
        assert_eq!((seat.group.as_str(), &seat.principals[..]), ("hide", &["User:masker".to_owned()][..]));
        assert_eq!(principals.members["verify"].principals, ["User:v"]);
    }
}
