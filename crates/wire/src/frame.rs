//! Frame: appends a validated datum and its record lineage to a container block.
//!
//! An Avro record is the concatenation of its fields. To append lineage fields is therefore to append bytes
//! under an extended schema. To rename a field is to edit the schema alone.

use serde_json::{Value, json};
use sluice_core::names::lineage;

use crate::datum::varint::{write_len, write_long};
use crate::patch::derive::wrapped;
use crate::program::facts::SchemaAnalysis;
use crate::schema::print::print;
use crate::{DatumError, DatumSchema, DatumValidator, SchemaError};

/// The origin of a record in Kafka.
#[derive(Debug, Clone, Copy)]
pub struct RecordLineage<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition, 0-based.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Kafka timestamp, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// The registry's id of the writer's schema. The frame writes it as a signed 32-bit int, the type of the
    /// registry's ids.
    pub schema_id: u32,
}

/// A compiled frame: the extended schema and the validation of its input.
pub struct LineageFrame {
    validate: DatumValidator,
    extended: DatumSchema,
    lineage: bool,
}

impl LineageFrame {
    /// Compiles a frame. With `lineage` it appends the fields of [`lineage::ALL`]: topic string, partition int,
    /// offset long, timestamp `["null", timestamp-millis]` and schema id int. `renames` are (field path, new
    /// name): the path goes through records written out in place (`a.b`), and the old name stays as an alias.
    /// A root record that contains itself gets the name `<name>_framed`, because only the outermost one has
    /// lineage.
    ///
    /// # Errors
    /// [`SchemaError`] if the schema is not a record, a path is unknown or a name is taken.
    pub fn compile(
        schema: &DatumSchema,
        lineage: bool,
        renames: &[(String, String)],
    ) -> Result<Self, SchemaError> {
        // The schema is edited as JSON, so that attributes and documentation survive.
        let mut json: Value =
            serde_json::from_str(schema.json()).map_err(|error| SchemaError::Parse(error.to_string()))?;

        // Without a wrapper, readers would expect the appended fields in the inner records as well.
        if lineage && SchemaAnalysis::of(schema).is_cyclic(schema.root()) {
            json = wrapped(schema);
        }

        // Renames come before lineage: a rename can free a name that lineage needs.
        for (path, name) in renames {
            rename(&mut json, path, name)?;
        }

        // The lineage fields go to the end of the root record, where their bytes are appended.
        if lineage {
            let fields =
                fields(&mut json).ok_or_else(|| unsupported("", "expected a record to append lineage to"))?;
            // Both spellings are reserved: readers take the former one for lineage, too.
            let mut reserved = lineage::ALL.into_iter().flat_map(|(name, former)| [name, former]);
            if let Some(name) = reserved.find(|name| has(fields, name)) {
                return Err(unsupported(name, "lineage needs this name: rename the record's field"));
            }
            fields.extend(lineage_fields());
        }

        // An unchanged schema keeps its text, byte for byte.
        let extended =
            if lineage || !renames.is_empty() { DatumSchema::parse(&print(&json))? } else { schema.clone() };
        Ok(Self { validate: DatumValidator::compile(schema)?, extended, lineage })
    }

    /// Returns the schema of the block's records.
    pub fn extended(&self) -> &DatumSchema {
        &self.extended
    }

    /// Appends one record to the block. On error the block is as it was.
    ///
    /// # Errors
    /// [`DatumError`] if the bytes are not a datum of the schema.
    #[inline]
    pub fn append(
        &self,
        datum: &[u8],
        lineage: &RecordLineage<'_>,
        block: &mut Vec<u8>,
    ) -> Result<(), DatumError> {
        // Validate first: an invalid datum would shift every later record of the block.
        self.validate.run(datum)?;
        block.extend_from_slice(datum);

        // The order and types are those of `lineage_fields`.
        if self.lineage {
            write_len(lineage.topic.len(), block);
            block.extend_from_slice(lineage.topic.as_bytes());
            write_long(i64::from(lineage.partition), block);
            write_long(lineage.offset, block);
            match lineage.timestamp_ms {
                // A union's index, zig-zag encoded: 0 is null, 2 is the second branch.
                None => block.push(0),
                Some(timestamp) => {
                    block.push(2);
                    write_long(timestamp, block);
                }
            }
            write_long(i64::from(lineage.schema_id.cast_signed()), block);
        }
        Ok(())
    }
}

/// Returns the definitions of the lineage fields, in the order in which [`LineageFrame::append`] writes them.
fn lineage_fields() -> [Value; 5] {
    [
        json!({"name": lineage::TOPIC, "type": "string"}),
        json!({"name": lineage::PARTITION, "type": "int"}),
        json!({"name": lineage::OFFSET, "type": "long"}),
        json!({"name": lineage::TIMESTAMP, "default": null,
            "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]}),
        json!({"name": lineage::SCHEMA_ID, "type": "int"}),
    ]
}

/// Makes the error for a schema that cannot be framed.
fn unsupported(path: &str, why: &str) -> SchemaError {
    SchemaError::Unsupported { path: path.to_owned(), why: why.to_owned() }
}

/// Tells whether a record has a field of this name.
fn has(fields: &[Value], name: &str) -> bool {
    fields.iter().any(|field| field["name"] == name)
}

/// Finds the fields of a record, through a nested `{"type": {…}}` and through the one record of a union.
fn fields(schema: &mut Value) -> Option<&mut Vec<Value>> {
    match schema {
        Value::Array(branches) => branches.iter_mut().find_map(fields),
        Value::Object(definition) => match definition.contains_key("fields") {
            true => definition.get_mut("fields")?.as_array_mut(),
            false => fields(definition.get_mut("type")?),
        },
        _ => None,
    }
}

/// Renames the field at a path and keeps its old name as an alias.
fn rename(schema: &mut Value, path: &str, name: &str) -> Result<(), SchemaError> {
    let unknown = || SchemaError::UnknownPath(path.to_owned());
    // Follow the path down to the record that holds the field.
    let mut record = schema;
    let (parents, last) = path.rsplit_once('.').map_or((None, path), |(parents, last)| (Some(parents), last));
    for step in parents.into_iter().flat_map(|parents| parents.split('.')) {
        let field = fields(record).and_then(|fields| fields.iter_mut().find(|field| field["name"] == step));
        record = field.and_then(|field| field.get_mut("type")).ok_or_else(unknown)?;
    }

    // Two fields of one name would make the schema invalid.
    let fields = fields(record).ok_or_else(unknown)?;
    if name != last && has(fields, name) {
        return Err(unsupported(path, "another field has the new name: choose a different one"));
    }

    // A rename to the same name still checks that the path exists.
    let field = fields.iter_mut().find(|field| field["name"] == last).ok_or_else(unknown)?;
    if name == last {
        return Ok(());
    }

    // Readers that know the old name find the field by its alias.
    let field = field.as_object_mut().ok_or_else(unknown)?;
    field.insert("name".into(), name.into());
    match field.entry("aliases").or_insert_with(|| json!([])) {
        Value::Array(aliases) => aliases.push(last.into()),
        _ => return Err(unknown()),
    }
    Ok(())
}
