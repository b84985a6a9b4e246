//! A CSV file in memory: its text is kept once, and rows are ranges of it.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// The data set's text for a missing value.
pub(crate) const NOT_AVAILABLE: &str = "NA";

/// A CSV file without quotes. All files of the data set are of this kind.
pub(crate) struct CsvTable {
    text: String,
    header: Vec<String>,
    rows: Vec<Range<usize>>,
}

/// One row: its columns in the header's order.
#[derive(Clone, Copy)]
pub(crate) struct CsvRow<'a> {
    table: &'a CsvTable,
    line: &'a str,
}

impl CsvTable {
    /// Reads `<name>.csv` or `<name>.csv.gz` of a folder.
    pub(crate) fn read(dir: &Path, name: &str) -> Result<Self> {
        let plain = dir.join(format!("{name}.csv"));
        let packed = dir.join(format!("{name}.csv.gz"));
        let mut text = String::new();
        let file = if plain.exists() { &plain } else { &packed };
        let open = std::fs::File::open(file).with_context(|| format!("reading {}", file.display()))?;
        let read = if plain.exists() {
            std::io::BufReader::new(open).read_to_string(&mut text)
        } else {
            flate2::read::GzDecoder::new(open).read_to_string(&mut text)
        };
        read.with_context(|| format!("reading {}", file.display()))?;
        Self::parse(text).with_context(|| format!("reading {}", file.display()))
    }

    /// Parses a CSV text.
    pub(crate) fn parse(text: String) -> Result<Self> {
        ensure!(!text.contains('"'), "a quoted field: the data set has none, so this is not the data set");
        let mut lines = text.lines();
        let header: Vec<String> = lines.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        let begin = text.as_ptr() as usize;
        let mut rows = Vec::new();
        for (number, line) in lines.enumerate() {
            let fields = line.bytes().filter(|byte| *byte == b',').count() + 1;
            if fields != header.len() {
                bail!("line {} has {fields} fields, not {}", number + 2, header.len());
            }
            let start = line.as_ptr() as usize - begin;
            rows.push(start..start + line.len());
        }
        Ok(Self { text, header, rows })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// Returns a row by its number, from 0.
    pub(crate) fn row(&self, number: usize) -> CsvRow<'_> {
        let line = self.rows.get(number).and_then(|range| self.text.get(range.clone())).unwrap_or_default();
        CsvRow { table: self, line }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = CsvRow<'_>> {
        (0..self.len()).map(|number| self.row(number))
    }

    /// Keeps the rows for which `wanted` returns true.
    pub(crate) fn retain(&mut self, wanted: impl Fn(CsvRow<'_>) -> bool) {
        let kept = (0..self.len()).filter(|number| wanted(self.row(*number)));
        let kept: Vec<Range<usize>> = kept.map(|number| self.rows[number].clone()).collect();
        self.rows = kept;
    }
}

impl<'a> CsvRow<'a> {
    /// Returns the fields in order.
    pub(crate) fn fields(self) -> impl Iterator<Item = &'a str> {
        self.line.split(',')
    }

    /// Returns a field by its column's name. `NA` and unknown columns are `None`.
    pub(crate) fn get(self, column: &str) -> Option<&'a str> {
        let index = self.table.header.iter().position(|name| name == column)?;
        self.fields().nth(index).filter(|value| *value != NOT_AVAILABLE)
    }

    /// Returns a field as a whole number.
    pub(crate) fn number(self, column: &str) -> Option<i64> {
        self.get(column)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_and_na_is_nothing() {
        let mut table = CsvTable::parse("a,b\n1,x\nNA,y\n".to_owned()).unwrap();
        assert_eq!((table.len(), table.header().len()), (2, 2));
        assert_eq!((table.row(0).number("a"), table.row(1).number("a")), (Some(1), None));
        assert_eq!((table.row(1).get("b"), table.row(1).get("c")), (Some("y"), None));
        table.retain(|row| row.get("b") == Some("y"));
        assert_eq!(table.len(), 1);
        assert_eq!(table.row(0).get("b"), Some("y"));
    }

    #[test]
    fn ragged_and_quoted_files_are_refused() {
        assert!(CsvTable::parse("a,b\n1\n".to_owned()).is_err());
        assert!(CsvTable::parse("a,b\n\"1\",2\n".to_owned()).is_err());
    }
}
