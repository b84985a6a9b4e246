//! The section `access` of the file for `plan`, `apply` and `verify`: the principals of roles and workers.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use sluice_govern::plan::{APPLY, AclPrincipals, MemberSeat, VERIFY};
use sluice_runtime::config::ConfigErrors;

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
}

impl RawAccess {
    /// Checks the section and fills in the defaults.
    ///
    /// # Errors
    /// Fails with every name that is not a principal.
    pub(crate) fn check(&self) -> Result<AclPrincipals, ConfigErrors> {
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
            principals.members.insert(name.clone(), seat);
        }
        errors.or(principals)
    }
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
        // `User:*` is everyone in Kafka, and would open a raw topic.
        if !named || principal.ends_with(":*") {
            let hint = "write type and name, for example `User:analyst`; `*` is not allowed".to_owned();
            errors.add(format!("{path}[{index}]"), "expected the name of a principal", Some(hint));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn seats_are_taken_by_name_and_nobody_is_everybody() {
        let raw: RawAccess = serde_json::from_str(
            r#"{"roles": {"analysts": ["User:ann", "bob", "User:*"]},
                "workers": {"masker": {"group": "hide"}, "verify": {"principals": ["User:v"]}}}"#,
        )
        .unwrap();
        let paths: Vec<_> = raw.check().unwrap_err().0.into_iter().map(|error| error.path).collect();
        assert_eq!(paths, ["access.roles.analysts[1]", "access.roles.analysts[2]"]);
        let raw = RawAccess { roles: BTreeMap::new(), ..raw };
        let principals = raw.check().unwrap();
        let seat = &principals.members["masker"];
        assert_eq!((seat.group.as_str(), &seat.principals[..]), ("hide", &["User:masker".to_owned()][..]));
        assert_eq!(principals.members["verify"].principals, ["User:v"]);
    }
}
