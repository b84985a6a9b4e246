//! An answer as text or file: a table for reading, JSON for programs, CSV for spreadsheets, Parquet for other engines.
//!
//! A format that cannot hold a value gets its text instead: a union in JSON, a list in CSV, an interval in Parquet, a
//! time that the calendar does not have.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{Cell, ContentArrangement, Table};
use datafusion::arrow::{csv, json};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// The look of tables: lines around and below the headings, as psql's.
const LINES: &str = "||--+-++|    ++++++";

/// The form in which an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryFormat {
    /// A table drawn with lines, and the number of rows below it. With a width, in characters, long cells are broken
    /// so that lines fit.
    Table {
        /// The width of the terminal, if there is one.
        width: Option<u16>,
    },
    /// One JSON array of objects.
    Json,
    /// Comma-separated, with a header line.
    Csv,
}

/// Writes `batches` to `out` and ends with a line break.
///
/// # Errors
/// Fails if `out` cannot be written.
pub fn print(batches: &[RecordBatch], format: QueryFormat, out: &mut dyn Write) -> io::Result<()> {
    match format {
        QueryFormat::Table { width } => print_table(batches, width, out),
        QueryFormat::Json => print_json(batches, out),
        QueryFormat::Csv => {
            for (index, batch) in batches.iter().enumerate() {
                let text = fitted(batch, &|batch| csv_text(batch, index == 0))?;
                out.write_all(&text)?;
            }
            Ok(())
        }
    }
}

/// Writes `batches` to a Parquet file, compressed with zstd.
///
/// # Errors
/// Fails if `out` cannot be written.
pub fn write_parquet(batches: &[RecordBatch], out: impl Write + Send) -> io::Result<()> {
    // All batches need the same columns: one that a batch cannot hold is text in all of them.
    let mut texts = BTreeSet::new();
    for batch in batches {
        texts.extend((0..batch.num_columns()).filter(|column| {
            // Parquet's writer panics on a union, also inside another type.
            if format!("{:?}", batch.column(*column).data_type()).contains("Union(") {
                return true;
            }
            let alone = batch.project(&[*column]);
            alone.and_then(|alone| parquet_bytes(&alone, Vec::new())).is_err()
        }));
    }

    let fitted: Result<Vec<_>, _> =
        batches.iter().map(|batch| with_texts(&unique_names(batch)?, &texts)).collect();
    let fitted = fitted.map_err(failed)?;
    let Some(first) = fitted.first() else { return Ok(()) };
    let mut writer = parquet_writer(first, out).map_err(failed)?;
    fitted.iter().try_for_each(|batch| writer.write(batch)).map_err(|error| failed(error.into()))?;
    writer.close().map_err(|error| failed(error.into()))?;
    Ok(())
}

/// Returns the number of rows as a sentence, for example `3 rows`.
pub fn row_count(batches: &[RecordBatch]) -> String {
    match batches.iter().map(RecordBatch::num_rows).sum::<usize>() {
        1 => "1 row".to_owned(),
        count => format!("{count} rows"),
    }
}

/// Writes a table.
fn print_table(batches: &[RecordBatch], width: Option<u16>, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new();
    table.load_preset(LINES);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }

    // The headings of the first batch: all batches of an answer have the same columns.
    if let Some(first) = batches.first() {
        table.set_header(first.schema().fields().iter().map(|field| Cell::new(field.name())));
    }
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(text_column).collect();
        for row in 0..batch.num_rows() {
            let cell = |column: &StringArray| {
                if column.is_null(row) { String::new() } else { visible(column.value(row)) }
            };
            table.add_row(columns.iter().map(cell));
        }
    }
    writeln!(out, "{table}")?;
    writeln!(out, "({})", row_count(batches))
}

/// Writes a JSON array with one object for each row.
fn print_json(batches: &[RecordBatch], out: &mut dyn Write) -> io::Result<()> {
    let mut separator: &[u8] = b"[";
    for batch in batches {
        // Two columns of one name would be one member of the object.
        let batch = unique_names(batch).map_err(failed)?;
        let text = fitted(&batch, &json_lines)?;
        for row in text.split(|byte| *byte == b'\n').filter(|row| !row.is_empty()) {
            out.write_all(separator)?;
            out.write_all(row)?;
            separator = b",";
        }
    }
    if separator == b"[" {
        out.write_all(separator)?;
    }
    out.write_all(b"]\n")
}

/// Returns a batch in a format. Columns that the format cannot hold go as text.
fn fitted(
    batch: &RecordBatch,
    write: &dyn Fn(&RecordBatch) -> Result<Vec<u8>, ArrowError>,
) -> io::Result<Vec<u8>> {
    if let Ok(text) = write(batch) {
        return Ok(text);
    }
    let refused = |column: &usize| batch.project(&[*column]).and_then(|alone| write(&alone)).is_err();
    let texts = (0..batch.num_columns()).filter(refused).collect();
    with_texts(batch, &texts).and_then(|batch| write(&batch)).map_err(failed)
}

/// Returns the rows as JSON objects, one a line.
fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    // A null is written: every object has the same keys.
    let mut text = vec![];
    let mut writer = json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, json::writer::LineDelimited>(&mut text);
    writer.write(batch).and_then(|()| writer.finish())?;
    drop(writer);

    // The writer does not quote the messages that it shows in the place of impossible times.
    for row in text.split(|byte| *byte == b'\n').filter(|row| !row.is_empty()) {
        serde_json::from_slice::<serde::de::IgnoredAny>(row)
            .map_err(|error| ArrowError::JsonError(error.to_string()))?;
    }
    Ok(text)
}

/// Returns the rows as CSV.
fn csv_text(batch: &RecordBatch, header: bool) -> Result<Vec<u8>, ArrowError> {
    let mut text = vec![];
    let mut writer = csv::WriterBuilder::new().with_header(header).build(&mut text);
    writer.write(batch)?;
    drop(writer);
    Ok(text)
}

/// Writes one batch as a Parquet file.
fn parquet_bytes(batch: &RecordBatch, out: Vec<u8>) -> Result<(), ArrowError> {
    let mut writer = parquet_writer(batch, out)?;
    writer.write(batch)?;
    writer.close()?;
    Ok(())
}

/// Returns a writer for batches like this one.
fn parquet_writer<W: Write + Send>(batch: &RecordBatch, out: W) -> Result<ArrowWriter<W>, ArrowError> {
    let compression = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(compression).build();
    Ok(ArrowWriter::try_new(out, batch.schema(), Some(properties))?)
}

/// Returns the batch with these columns as text.
fn with_texts(batch: &RecordBatch, texts: &BTreeSet<usize>) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).enumerate().map(|(index, (field, column))| {
        let text = texts.contains(&index).then(|| Arc::new(text_column(column)) as ArrayRef);
        let column = text.unwrap_or_else(|| Arc::clone(column));
        (Field::new(field.name(), column.data_type().clone(), true), column)
    });
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.unzip();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &row_count_of(batch))
}

/// Returns the batch with a number behind each column name that was there before: `id`, `id_2`.
fn unique_names(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut taken = BTreeSet::new();
    let schema = batch.schema();
    let fields = schema.fields().iter().map(|field| {
        let mut name = field.name().clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{}_{number}", field.name());
            number += 1;
        }
        field.as_ref().clone().with_name(name)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &row_count_of(batch))
}

/// Returns the option that keeps the number of rows of a batch without columns.
fn row_count_of(batch: &RecordBatch) -> arrow::array::RecordBatchOptions {
    arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()))
}

/// Returns a column as text. A value that has no text shows the reason.
fn text_column(column: &ArrayRef) -> StringArray {
    let options = FormatOptions::new().with_display_error(true);
    match ArrayFormatter::try_new(column, &options) {
        Ok(formatter) => (0..column.len())
            .map(|row| (!column.is_null(row)).then(|| formatter.value(row).to_string()))
            .collect(),
        Err(error) => (0..column.len()).map(|_| Some(format!("({error})"))).collect(),
    }
}

/// Returns a text that cannot steer a terminal: control characters are shown by their codes. Line breaks stay.
fn visible(text: &str) -> String {
    let escape = |c: char| c.is_control() && c != '\n';
    if !text.contains(escape) {
        return text.to_owned();
    }
    text.chars().map(|c| if escape(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// Turns an error of Arrow into one of writing. The error of the output keeps its kind: a closed pipe stays one.
fn failed(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Float64Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray,
        TimestampMicrosecondArray, UnionArray,
    };
    use arrow::datatypes::{DataType, Int32Type, IntervalMonthDayNano, UnionFields};

    fn printed(batches: &[RecordBatch], format: QueryFormat) -> String {
        let mut out = Vec::new();
        print(batches, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn flights() -> RecordBatch {
        let carrier: ArrayRef = Arc::new(StringArray::from(vec!["UA", "a,b"]));
        let flights: ArrayRef = Arc::new(Int64Array::from(vec![Some(58_665), None]));
        RecordBatch::try_from_iter([("carrier", carrier), ("flights", flights)]).unwrap()
    }

    /// One row with a value that some format has no form for, in each column.
    fn awkward() -> RecordBatch {
        let time = TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("UTC");
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]);
        let interval = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 2, 3)]);
        let number: ArrayRef = Arc::new(Int32Array::from(vec![7]));
        let fields: UnionFields =
            [(0, Arc::new(Field::new("i", DataType::Int32, true)))].into_iter().collect();
        let union = UnionArray::try_new(fields, vec![0].into(), None, vec![number]).unwrap();
        let columns: [(&str, ArrayRef); 6] = [
            ("time", Arc::new(time)),
            ("list", Arc::new(list)),
            ("span", Arc::new(interval)),
            ("union", Arc::new(union)),
            ("nan", Arc::new(Float64Array::from(vec![f64::NAN]))),
            ("text", Arc::new(StringArray::from(vec!["a\u{1b}[31m\"\n"]))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn every_format_shows_the_rows() {
        let table = printed(&[flights()], QueryFormat::Table { width: None });
        assert!(table.contains("| UA      | 58665   |") && table.ends_with("(2 rows)\n"), "{table}");
        assert_eq!(
            printed(&[flights()], QueryFormat::Json),
            "[{\"carrier\":\"UA\",\"flights\":58665},{\"carrier\":\"a,b\",\"flights\":null}]\n"
        );
        assert_eq!(
            printed(&[flights(), flights()], QueryFormat::Csv),
            "carrier,flights\nUA,58665\n\"a,b\",\nUA,58665\n\"a,b\",\n"
        );
        let empty = flights().slice(0, 0);
        assert_eq!(printed(std::slice::from_ref(&empty), QueryFormat::Json), "[]\n");
        assert_eq!(printed(&[empty], QueryFormat::Csv), "carrier,flights\n");
    }

    #[test]
    fn a_value_that_a_format_cannot_hold_is_shown_as_text() {
        let json: serde_json::Value =
            serde_json::from_str(&printed(&[awkward()], QueryFormat::Json)).unwrap();
        assert_eq!(json[0]["list"], serde_json::json!([1, null]));
        assert!(json[0]["time"].is_string() && json[0]["nan"].is_null(), "{json}");
        assert_eq!(json[0]["text"], "a\u{1b}[31m\"\n");
        assert!(printed(&[awkward()], QueryFormat::Csv).contains("[1, ]"), "a list in CSV");

        let mut file = Vec::new();
        write_parquet(&[awkward(), awkward()], &mut file).unwrap();
        let read =
            parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes::Bytes::from(file), 10);
        let rows: usize = read.unwrap().map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows, 2);
    }

    #[test]
    fn a_table_fits_the_terminal_and_cannot_steer_it() {
        let long: ArrayRef = Arc::new(StringArray::from(vec!["word ".repeat(40)]));
        let wide = RecordBatch::try_from_iter([("long", long)]).unwrap();
        let table = printed(&[wide], QueryFormat::Table { width: Some(40) });
        assert!(table.lines().all(|line| line.chars().count() <= 40), "{table}");
        assert!(!printed(&[awkward()], QueryFormat::Table { width: None }).contains('\u{1b}'));
    }

    #[test]
    fn columns_of_one_name_are_two_members() {
        let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let twice = RecordBatch::try_from_iter([("id", one.clone()), ("id", one)]).unwrap();
        assert_eq!(printed(&[twice], QueryFormat::Json), "[{\"id\":1,\"id_2\":1}]\n");
    }
}
