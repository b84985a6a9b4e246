//! Classifications: how closed the data of a leaf is.

use std::fmt;

use serde::Serialize;

/// The classification of a leaf, from open to closed. The list is closed: a word outside of it would count as
/// open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataClassification {
    /// For everybody.
    Public,
    /// For everybody in the organisation.
    Internal,
    /// For the roles that need it.
    Confidential,
    /// Only for the roles that a contract gives `view: raw`. Such a leaf is never open unmasked.
    Restricted,
}

impl DataClassification {
    /// All classifications, from open to closed.
    pub const ALL: [Self; 4] = [Self::Public, Self::Internal, Self::Confidential, Self::Restricted];

    /// Returns the word of the contract file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Restricted => "restricted",
        }
    }

    /// Returns the classification of this name, in any case. `None` if there is no such classification.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str().eq_ignore_ascii_case(word))
    }
}

impl fmt::Display for DataClassification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
