//! What is wrong with the contract files: every mistake at once, each with its place and, where there is one, a hint.

use std::fmt;

/// One mistake in one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContractFinding {
    /// The file, as the caller named it.
    pub file: String,
    /// Line in that file, from 1; its first line where the mistake is about the file as a whole, `None` only where there
    /// is no file.
    pub line: Option<u32>,
    /// A leaf of the value (`address.postcode`, `meters[].mpan`) or a place in the contract
    /// (`customProperties.warehouse.mode`); empty where the file as a whole is meant.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would mend it.
    pub hint: Option<String>,
}

/// All mistakes found in a set of contract files, sorted by file and line. Never empty when it is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingList(pub Vec<ContractFinding>);

/// Where a finding has no better hint.
const WAY_ON: &str = "`sluice contract --help` says what may stand here";

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

    /// A report on another file, among the same findings.
    pub fn beside<'b>(file: &'b str, report: &'b mut FindingReport<'_>) -> FindingReport<'b> {
        FindingReport { file, findings: &mut *report.findings }
    }

    /// Adds one mistake; without a hint of its own it points to `sluice contract --help`.
    pub fn add(
        &mut self,
        line: impl Into<Option<u32>>,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        // A mistake about a file as a whole is shown at its head, and nobody is left without a way on.
        let line = line.into().filter(|line| *line > 0).or((!self.file.is_empty()).then_some(1));
        let finding = ContractFinding {
            file: self.file.to_owned(),
            line,
            path: path.into(),
            message: message.into(),
            hint: hint.or_else(|| Some(WAY_ON.to_owned())),
        };
        self.findings.push(finding);
    }
}

/// `did you mean …?` if one of the known names is near enough to what was written.
pub fn did_you_mean<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    nearest(written, known).map(|name| format!("did you mean `{name}`?"))
}

/// The known name nearest to what was written, if it is near.
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let near = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

impl fmt::Display for ContractFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            if index > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for FindingList {}
