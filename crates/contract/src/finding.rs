//! Findings: the mistakes in contract files, all at once, each with its place and a hint.

use std::fmt;

/// One mistake in one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContractFinding {
    /// The file, as the caller named it.
    pub file: String,
    /// Line in that file, from 1. The first line if the mistake concerns the file as a whole, `None` only if
    /// there is no file.
    pub line: Option<u32>,
    /// A leaf of the value (`address.postcode`, `meters[].mpan`) or a setting of the contract
    /// (`customProperties.warehouse.mode`). Empty if the mistake concerns the file as a whole.
    pub path: String,
    /// The mistake. It may quote the contract file, and never a record.
    pub message: String,
    /// The way to mend it.
    pub hint: Option<String>,
}

/// All mistakes in a set of contract files, sorted by file and line. Never empty if it is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingList(pub Vec<ContractFinding>);

/// The hint of a finding that has none of its own.
const WAY_ON: &str = "`sluice contract --help` lists the allowed settings";

/// Collects the findings of one file.
pub struct FindingReport<'a> {
    file: &'a str,
    findings: &'a mut Vec<ContractFinding>,
}

impl<'a> FindingReport<'a> {
    /// Begins a report on one file.
    pub fn new(file: &'a str, findings: &'a mut Vec<ContractFinding>) -> Self {
        Self { file, findings }
    }

    /// Returns a report on another file, among the same findings.
    pub fn beside<'b>(file: &'b str, report: &'b mut FindingReport<'_>) -> FindingReport<'b> {
        FindingReport { file, findings: &mut *report.findings }
    }

    /// Adds one mistake. A mistake without a hint of its own points to `sluice contract --help`.
    pub fn add(
        &mut self,
        line: impl Into<Option<u32>>,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        // A mistake about a file as a whole is shown at its first line. The parsers return line 0 if they do
        // not know it.
        let line = line.into().filter(|line| *line > 0).or((!self.file.is_empty()).then_some(1));
        let finding = ContractFinding {
            file: self.file.to_owned(),
            line,
            path: path.into(),
            message: message.into(),
            hint: hint.or_else(|| Some(WAY_ON.to_owned())),
        };
        // The order does not matter: `ContractSet::parse` sorts all findings at the end.
        self.findings.push(finding);
    }
}

/// Returns the hint `did you mean …?` if one of the known names is near enough to the written one.
pub fn did_you_mean<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    nearest(written, known).map(|name| format!("did you mean `{name}`?"))
}

/// Returns the known name that is nearest to the written one, if it is near: at most a third of its letters
/// differ.
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Short names may differ in one letter.
    let near = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        // The root of a schema has no name.
        .filter(|name| !name.is_empty())
        .map(|name| (strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

impl fmt::Display for ContractFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `file:line: path: message (hint)`: editors jump to the place.
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for FindingList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            // One line per finding, without a line break behind the last.
            if index > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for FindingList {}
