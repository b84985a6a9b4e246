//! The column type of each Avro type.
//!
//! | Avro | column |
//! |---|---|
//! | boolean, int, long, float, double, string, bytes | the same |
//! | enum, uuid on string | string |
//! | fixed, uuid on fixed | binary |
//! | decimal up to 38 digits | decimal(p, s), exact |
//! | decimal of more digits | string: its exact decimal text |
//! | date | date |
//! | timestamp-millis, -micros | timestamp, UTC microseconds |
//! | local-timestamp-millis, -micros | timestamp without zone, microseconds |
//! | timestamp-nanos, local-timestamp-nanos | long: nanoseconds, nothing is cut off |
//! | time-millis, time-micros | int, long: since midnight |
//! | record, array, map | struct, array, map |
//! | `["null", T]` | T, nullable |
//! | any other union | struct of one nullable field per branch |
//! | duration | refused: Delta has no type that holds it exactly |
//!
//! A value becomes a floating-point number only if it was one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};

use sluice_core::names::lineage;

use super::docs::FieldDocs;

/// Names of the lineage columns, in their order.
pub(super) const LINEAGE: [&str; 5] = LineageSpelling::Present.names();

/// The names under which one table has its lineage columns. A table never mixes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineageSpelling {
    /// The names of [`LINEAGE`].
    Present,
    /// The names of version 0.1.
    Former,
}

impl LineageSpelling {
    /// Returns the spelling of a table: the former one if it has all lineage columns under their former names.
    pub(super) fn of(table: &Schema) -> Self {
        let has_all =
            |spelling: Self| spelling.names().iter().all(|name| table.field_with_name(name).is_ok());
        if has_all(Self::Former) && !has_all(Self::Present) { Self::Former } else { Self::Present }
    }

    /// Returns the names of the lineage columns, in their order.
    pub(super) const fn names(self) -> [&'static str; 5] {
        let [topic, partition, offset, timestamp, schema_id] = lineage::ALL;
        match self {
            Self::Present => [topic.0, partition.0, offset.0, timestamp.0, schema_id.0],
            Self::Former => [topic.1, partition.1, offset.1, timestamp.1, schema_id.1],
        }
    }

    /// Returns a schema with the present names as a table of this spelling has it. Other columns stay: no
    /// column of a record has a name of either spelling.
    pub(super) fn spell(self, present: &Schema) -> Schema {
        let spelt = |field: &FieldRef| match LINEAGE.iter().position(|name| field.name() == name) {
            Some(place) => Arc::new(field.as_ref().clone().with_name(self.names()[place])),
            None => Arc::clone(field),
        };
        let fields: Vec<_> = present.fields().iter().map(spelt).collect();
        Schema::new_with_metadata(fields, present.metadata().clone())
    }
}

/// Tells whether a column of this name is a lineage column, in either spelling. Delta ignores the case.
pub(super) fn is_lineage(name: &str) -> bool {
    lineage::ALL
        .iter()
        .any(|(present, former)| name.eq_ignore_ascii_case(present) || name.eq_ignore_ascii_case(former))
}

/// A field that a table cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at `{path}`: {why}")]
pub(super) struct ColumnTypeError {
    /// Field path in the record.
    pub(super) path: String,
    /// The reason, for an operator.
    pub(super) why: String,
}

/// Returns the table's schema for records that decode to `decoded`: their columns, described by `docs`, then
/// the lineage columns under their present names.
///
/// # Errors
/// Fails with [`ColumnTypeError`] for a type without a column, for a field with the name of a lineage column in
/// either spelling, and for two names that differ in case only, which Delta ignores.
pub(super) fn table_schema(decoded: &Schema, docs: &FieldDocs) -> Result<Schema, ColumnTypeError> {
    if let Some(field) = decoded.fields().iter().find(|field| is_lineage(field.name())) {
        let why = "a lineage column has this name; expected a name of its own".to_owned();
        return Err(ColumnTypeError { path: field.name().clone(), why });
    }
    let mut fields = stored_fields(decoded.fields(), "", docs)?;
    fields.extend(lineage_fields().into_iter().map(Arc::new));
    distinct(&fields, "")?;
    Ok(Schema::new(fields))
}

/// Returns Delta's type of a timestamp: microseconds in UTC.
pub(super) fn utc_micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Returns the lineage columns, in the order of [`LINEAGE`]. Only the time can be missing.
fn lineage_fields() -> [Field; 5] {
    let [topic, partition, offset, timestamp, schema_id] = LINEAGE;
    let described = |field: Field, text: &str| field.with_metadata(comment(text));
    [
        described(Field::new(topic, DataType::Utf8, false), "Kafka topic the row was read from"),
        described(Field::new(partition, DataType::Int32, false), "Partition of that topic"),
        described(Field::new(offset, DataType::Int64, false), "Offset in that partition"),
        described(Field::new(timestamp, utc_micros(), true), "Kafka's time of the record"),
        described(Field::new(schema_id, DataType::Int32, false), "Registry id of the writer's schema"),
    ]
}

/// Returns the metadata of a described column. Delta keeps a description under `comment`.
fn comment(text: &str) -> std::collections::HashMap<String, String> {
    [("comment".to_owned(), text.to_owned())].into()
}

/// Returns the columns for the fields of the root or of one struct at `path`.
fn stored_fields(fields: &Fields, path: &str, docs: &FieldDocs) -> Result<Vec<FieldRef>, ColumnTypeError> {
    fields
        .iter()
        .map(|field| {
            let path = join(path, field.name());
            let stored =
                Field::new(field.name(), stored(field.data_type(), &path, docs)?, may_be_null(field));
            Ok(Arc::new(match docs.of(&path) {
                Some(text) => stored.with_metadata(comment(text)),
                None => stored,
            }))
        })
        .collect()
}

/// Tells whether a column must allow null. The decoder does not mark a field of Avro's type null as nullable,
/// although its value is always null.
fn may_be_null(field: &Field) -> bool {
    field.is_nullable() || field.data_type() == &DataType::Null
}

/// Returns the column type of a decoded type, by the table in the module's head.
///
/// # Errors
/// Fails with [`ColumnTypeError`] at `path`, or at a path inside, for a type without a column.
fn stored(decoded: &DataType, path: &str, docs: &FieldDocs) -> Result<DataType, ColumnTypeError> {
    use DataType as D;
    let refuse = |why: &str| Err(ColumnTypeError { path: path.to_owned(), why: why.to_owned() });
    Ok(match decoded {
        // Types that Delta has too.
        D::Boolean | D::Int32 | D::Int64 | D::Float32 | D::Float64 | D::Utf8 | D::Binary | D::Date32 => {
            decoded.clone()
        }

        // Other forms of text and bytes. A dictionary is the decoder's form of an enum.
        D::LargeUtf8 | D::Utf8View => D::Utf8,
        D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => D::Binary,
        D::Dictionary(_, value) => stored(value, path, docs)?,

        // Times. Delta has no nanoseconds and no time of day, and keeps instants in UTC.
        D::Timestamp(TimeUnit::Nanosecond, _) => D::Int64,
        D::Timestamp(_, None) => D::Timestamp(TimeUnit::Microsecond, None),
        D::Timestamp(_, Some(zone)) if matches!(&**zone, "UTC" | "+00:00" | "Z") => utc_micros(),
        D::Timestamp(_, Some(_)) => return refuse("a time zone other than UTC: expected UTC"),
        D::Time32(_) => D::Int32,
        D::Time64(_) => D::Int64,

        // Decimals: exact up to the 38 digits that Delta has, text beyond.
        D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) => {
            if *s < 0 || *s as u8 > *p {
                return refuse("the decimal's scale: expected a number from 0 to its precision");
            }
            D::Decimal128(*p, *s)
        }
        D::Decimal256(..) => D::Utf8,

        // A column that is always null is kept, or its name would be lost.
        D::Null => D::Utf8,

        // Types with other types inside.
        D::Struct(fields) if fields.is_empty() => {
            return refuse("a record without fields: expected at least one field");
        }
        D::Struct(fields) => {
            let fields = stored_fields(fields, path, docs)?;
            distinct(&fields, path)?;
            D::Struct(fields.into())
        }
        D::List(item) | D::LargeList(item) => {
            let item_type = stored(item.data_type(), &format!("{path}[]"), docs)?;
            list_of(item_type, may_be_null(item))
        }
        D::Map(entries, _) => {
            let Some((key, value)) = entry_types(entries) else {
                return refuse("a map without key and value: expected both");
            };
            let key_type = stored(key.data_type(), path, docs)?;
            let value_type = stored(value.data_type(), &format!("{path}{{}}"), docs)?;
            map_of(key_type, value_type, may_be_null(value))
        }

        // A union of several types: one nullable field for each branch. Null is the row without any.
        D::Union(branches, _) => {
            let mut fields = Vec::new();
            for (_, branch) in branches.iter().filter(|(_, branch)| branch.data_type() != &D::Null) {
                let path = format!("{path}<{}>", branch.name());
                fields.push(Arc::new(Field::new(
                    branch.name(),
                    stored(branch.data_type(), &path, docs)?,
                    true,
                )));
            }
            distinct(&fields, path)?;
            D::Struct(fields.into())
        }

        // Types that no column holds.
        D::Interval(_) | D::Duration(_) => return refuse("a duration: no column type holds it exactly"),
        other => return refuse(&format!("the type {other}: no column type holds it")),
    })
}

/// Returns a list type with the part's name that delta-rs' Arrow form has.
pub(super) fn list_of(item: DataType, nullable: bool) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, nullable)))
}

/// Returns a map type with the names of the parts that delta-rs' Arrow form has.
pub(super) fn map_of(key: DataType, value: DataType, nullable: bool) -> DataType {
    let entries = vec![Field::new("key", key, false), Field::new("value", value, nullable)];
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entries.into()), false)), false)
}

/// Returns the key field and the value field of a map's entries.
pub(super) fn entry_types(entries: &Field) -> Option<(&FieldRef, &FieldRef)> {
    match entries.data_type() {
        DataType::Struct(fields) => Some((fields.first()?, fields.get(1)?)),
        _ => None,
    }
}

/// Joins a path and a name: `a` and `b` to `a.b`.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Checks that no two names are equal, or differ in case only, which Delta ignores.
fn distinct(fields: &[FieldRef], path: &str) -> Result<(), ColumnTypeError> {
    let mut seen = BTreeMap::new();
    for field in fields {
        if let Some(other) = seen.insert(field.name().to_lowercase(), field.name()) {
            let why = if other == field.name() {
                "a second column of this name; expected one".to_owned()
            } else {
                format!("a column differs from `{other}` in case only; expected a name of its own")
            };
            return Err(ColumnTypeError { path: join(path, field.name()), why });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_is_always_null_may_be() {
        let decoded = Schema::new(vec![Field::new("nothing", DataType::Null, false)]);
        let table = table_schema(&decoded, &FieldDocs::default()).unwrap();
        assert!(table.field_with_name("nothing").unwrap().is_nullable());
    }

    fn one(data_type: DataType) -> Result<DataType, ColumnTypeError> {
        let decoded = Schema::new(vec![Field::new("f", data_type, true)]);
        table_schema(&decoded, &FieldDocs::default()).map(|schema| schema.field(0).data_type().clone())
    }

    #[test]
    fn every_type_by_its_rule() {
        use DataType as D;
        let zone = |text: &str| Some(text.into());
        assert_eq!(one(D::Timestamp(TimeUnit::Millisecond, zone("+00:00"))).unwrap(), utc_micros());
        assert_eq!(
            one(D::Timestamp(TimeUnit::Millisecond, None)).unwrap(),
            D::Timestamp(TimeUnit::Microsecond, None)
        );
        assert_eq!(one(D::Timestamp(TimeUnit::Nanosecond, None)).unwrap(), D::Int64);
        assert_eq!(one(D::Dictionary(Box::new(D::Int32), Box::new(D::Utf8))).unwrap(), D::Utf8);
        assert_eq!(one(D::FixedSizeBinary(16)).unwrap(), D::Binary);
        assert_eq!(one(D::Decimal128(38, 9)).unwrap(), D::Decimal128(38, 9));
        assert_eq!(one(D::Decimal256(60, 9)).unwrap(), D::Utf8);
        assert_eq!(one(D::Time64(TimeUnit::Microsecond)).unwrap(), D::Int64);
        assert_eq!(one(D::Interval(arrow_schema::IntervalUnit::MonthDayNano)).unwrap_err().path, "f");
    }

    #[test]
    fn names_that_delta_cannot_tell_apart_are_refused() {
        let decoded = Schema::new(vec![
            Field::new("Id", DataType::Int32, true),
            Field::new("id", DataType::Int32, true),
        ]);
        assert_eq!(table_schema(&decoded, &FieldDocs::default()).unwrap_err().path, "id");
        let decoded = Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("id", DataType::Int64, true),
        ]);
        assert_eq!(
            table_schema(&decoded, &FieldDocs::default()).unwrap_err().why,
            "a second column of this name; expected one"
        );
    }

    #[test]
    fn a_field_with_the_name_of_a_lineage_column_is_refused() {
        let names = lineage::ALL.into_iter().flat_map(|(name, former)| [name, former]);
        for name in names.map(str::to_owned).chain([lineage::OFFSET.to_uppercase()]) {
            let decoded = Schema::new(vec![Field::new(&name, DataType::Int64, true)]);
            let refused = table_schema(&decoded, &FieldDocs::default()).unwrap_err();
            assert_eq!(
                (refused.path, refused.why.as_str()),
                (name, "a lineage column has this name; expected a name of its own")
            );
        }
    }

    #[test]
    fn a_table_has_one_spelling_and_schemas_are_spelt_as_it_is() {
        let decoded = Schema::new(vec![Field::new("id", DataType::Int32, true)]);
        let present = table_schema(&decoded, &FieldDocs::default()).unwrap();
        let former = LineageSpelling::Former.spell(&present);
        assert_eq!(LineageSpelling::of(&present), LineageSpelling::Present);
        assert_eq!(LineageSpelling::of(&former), LineageSpelling::Former);
        let names: Vec<_> = former.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names[0], "id");
        assert_eq!(names[1..], LineageSpelling::Former.names());
        assert_eq!(LineageSpelling::Present.spell(&present), present);
        // Another maker's table without all of them gets the present names.
        assert_eq!(LineageSpelling::of(&former.project(&[0, 1, 2]).unwrap()), LineageSpelling::Present);
    }

    #[test]
    fn columns_carry_the_documentation_of_their_fields() {
        let inner = DataType::Struct(vec![Field::new("b", DataType::Int32, false)].into());
        let decoded = Schema::new(vec![Field::new(
            "a",
            DataType::List(Arc::new(Field::new("item", inner, false))),
            false,
        )]);
        let docs = FieldDocs::from_pairs(&[("a", "outer"), ("a[].b", "inner")]);
        let schema = table_schema(&decoded, &docs).unwrap();
        assert_eq!(schema.field(0).metadata()["comment"], "outer");
        let DataType::List(item) = schema.field(0).data_type() else { panic!("a list") };
        let DataType::Struct(fields) = item.data_type() else { panic!("a struct") };
        assert_eq!(fields[0].metadata()["comment"], "inner");
    }
}
