//! A plain table for the terminal: columns are as wide as their widest cell, and numbers are aligned to the
//! right.

use std::fmt;

/// Rows under headings. The first row has the headings.
pub(crate) struct TextTable {
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// Begins a table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row. It must have one cell for each heading.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A row that is too short is filled with empty cells.
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
        let number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());

        // A column is aligned to the right if every cell under its heading is a number.
        let shape = |column: usize| {
            let width = self.rows.iter().map(|row| cell(row, column).chars().count()).max();
            let right = self.rows.iter().skip(1).all(|row| number(&cell(row, column)));
            (width.unwrap_or_default(), right)
        };
        let shapes: Vec<_> = (0..columns).map(shape).collect();

        // Blanks at the end of a line are cut off.
        for row in &self.rows {
            let mut line = String::new();
            for (column, &(width, right)) in shapes.iter().enumerate() {
                let text = cell(row, column);
                let padded = if right { format!("{text:>width$}") } else { format!("{text:<width$}") };
                line.push_str(&padded);
                line.push_str("  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let mut table = TextTable::new(&["topic", "count"]);
        table.row(["a".to_owned(), "5".to_owned()]);
        table.row(["long.name".to_owned(), "1234".to_owned()]);
        assert_eq!(table.to_string(), "topic      count\na              5\nlong.name   1234\n");
    }
}
