//! A permission as Kafka keeps it (KIP-11): who may do what with which thing.

use std::fmt;

/// A name that stands for every one.
pub const ANY: &str = "*";

/// One permission: what is not permitted by any is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclRule {
    /// Who, `User:name`.
    pub principal: String,
    /// From where; `*` for anywhere.
    pub host: String,
    /// The kind of thing.
    pub resource: AclResource,
    /// Its name, or the beginning of its name.
    pub name: String,
    /// The name is a beginning (Kafka's `PREFIXED`), not the whole (`LITERAL`).
    pub prefixed: bool,
    /// What may be done with it.
    pub operation: AclOperation,
}

/// Kinds of things that permissions are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "Kafka's own words")]
pub enum AclResource {
    Topic,
    Group,
    TransactionalId,
    Cluster,
}

/// What may be done.
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
    /// Kafka's word.
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
    /// Kafka's word.
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
        if *prefixed {
            f.write_str("*")?;
        }
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
