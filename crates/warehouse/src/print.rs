//! An answer as text: a table for reading, JSON for programs, CSV for spreadsheets.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use datafusion::arrow::{csv, json, util::pretty};

/// The form in which an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueryFormat {
    /// A table drawn with lines.
    #[default]
    Table,
    /// One JSON array of objects.
    Json,
    /// Comma-separated, with a header line.
    Csv,
}

/// Writes `batches` to `out` and ends with a line break.
///
/// # Errors
/// Fails if `out` cannot be written, or if the format cannot show a value (`InvalidData`).
pub fn print(batches: &[RecordBatch], format: QueryFormat, out: &mut dyn Write) -> io::Result<()> {
    // The error of `out` keeps its kind: a closed pipe stays a closed pipe.
    let failed = |error: ArrowError| match error {
        ArrowError::IoError(_, error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    };

    match format {
        QueryFormat::Table => writeln!(out, "{}", pretty::pretty_format_batches(batches).map_err(failed)?),
        QueryFormat::Json => {
            let batches: Vec<_> = batches.iter().collect();
            // A null is written: every object has the same keys.
            let mut writer = json::WriterBuilder::new()
                .with_explicit_nulls(true)
                .build::<_, json::writer::JsonArray>(&mut *out);
            writer.write_batches(&batches).and_then(|()| writer.finish()).map_err(failed)?;
            writeln!(out)
        }
        QueryFormat::Csv => {
            let mut writer = csv::WriterBuilder::new().with_header(true).build(out);
            batches.iter().try_for_each(|batch| writer.write(batch)).map_err(failed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    fn printed(format: QueryFormat) -> String {
        let carrier: ArrayRef = Arc::new(StringArray::from(vec!["UA", "a,b"]));
        let flights: ArrayRef = Arc::new(Int64Array::from(vec![Some(58_665), None]));
        let batch = RecordBatch::try_from_iter([("carrier", carrier), ("flights", flights)]).unwrap();
        let mut out = Vec::new();
        print(&[batch], format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_format_shows_the_rows() {
        assert!(printed(QueryFormat::Table).contains("| UA      | 58665   |"));
        assert_eq!(
            printed(QueryFormat::Json),
            "[{\"carrier\":\"UA\",\"flights\":58665},{\"carrier\":\"a,b\",\"flights\":null}]\n"
        );
        assert_eq!(printed(QueryFormat::Csv), "carrier,flights\nUA,58665\n\"a,b\",\n");
    }
}
