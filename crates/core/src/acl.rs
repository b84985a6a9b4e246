//! Permissions as Kafka keeps them (KIP-11): a principal, a host, an operation and a resource.

use std::fmt;

/// The name that matches all hosts, or all resources of a kind.
pub const ANY: &str = "*";

/// One permission. Kafka refuses every operation that no permission allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclRule {
    /// The user, as `User:name`.
    pub principal: String,
    /// The client's host; `*` is any host.
    pub host: String,
    /// The kind of the resource.
    pub resource: AclResource,
    /// The name of the resource, or the beginning of its name.
    pub name: String,
    /// True if `name` is the beginning of names (Kafka's `PREFIXED`); false if it is the whole name
    /// (`LITERAL`).
    pub prefixed: bool,
    /// The operation that is allowed.
    pub operation: AclOperation,
}

/// The kinds of resources that have permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "Kafka's own words")]
pub enum AclResource {
    Topic,
    Group,
    TransactionalId,
    Cluster,
}

/// The operations that a permission can allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "Kafka's own words")]
pub enum AclOperation {
    All,
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    ClusterAction,
    DescribeConfigs,
    AlterConfigs,
    IdempotentWrite,
}

impl AclResource {
    /// Returns Kafka's name of the resource kind, for operators.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Group => "group",
            Self::TransactionalId => "transactional id",
            Self::Cluster => "cluster",
        }
    }
}

impl AclOperation {
    /// Returns Kafka's name of the operation, as its protocol documents spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Create => "Create",
            Self::Delete => "Delete",
            Self::Alter => "Alter",
            Self::Describe => "Describe",
            Self::ClusterAction => "ClusterAction",
            Self::DescribeConfigs => "DescribeConfigs",
            Self::AlterConfigs => "AlterConfigs",
            Self::IdempotentWrite => "IdempotentWrite",
        }
    }
}

impl fmt::Display for AclRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, host, resource, name, prefixed, operation } = self;
        write!(f, "{principal} {} {} {name}", operation.as_str(), resource.as_str())?;
        // A prefix has a star behind it: `masker-*`.
        if *prefixed {
            f.write_str("*")?;
        }
        // The host is shown only where it limits the permission.
        if host != ANY {
            write!(f, " from {host}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_who_what_and_where() {
        let shown = AclRule {
            principal: "User:somebody".to_owned(),
            host: "10.0.0.1".to_owned(),
            resource: AclResource::TransactionalId,
            name: "masker-".to_owned(),
            prefixed: true,
            operation: AclOperation::Read,
        };
        assert_eq!(shown.to_string(), "User:somebody Read transactional id masker-* from 10.0.0.1");
    }
}
