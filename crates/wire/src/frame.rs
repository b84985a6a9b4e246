//! Frame: a validated datum and its lineage, appended to a container block.
//!
//! A record is its fields concatenated, so appended lineage fields are appended bytes under an extended schema,
//! and a renamed field is an edit of the schema alone.

use serde_json::{Value, json};

use crate::datum::varint::{write_len, write_long};
use crate::patch::derive::wrapped;
use crate::program::facts::SchemaAnalysis;
use crate::schema::print::print;
use crate::{DatumError, DatumSchema, DatumValidator, SchemaError};

/// Where a record came from.
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
    /// Registry id of the writer's schema; written as a signed 32-bit int, which is what the registry hands out.
    pub schema_id: u32,
}

/// A compiled frame.
pub struct LineageFrame {
    validate: DatumValidator,
    extended: DatumSchema,
    lineage: bool,
}

impl LineageFrame {
    /// Compiles; with `lineage` the fields `_topic` string, `_partition` int, `_offset` long, `_timestamp`
    /// `["null", timestamp-millis]` and `_schema_id` int are appended. `renames` are (field path, new name):
    /// the path goes through records written out in place (`a.b`), and the old name stays as an alias. A root
    /// record that contains itself gets the name `<name>_framed`, because only the outermost one has lineage.
    ///
    /// # Errors
    /// [`SchemaError`] if the schema is not a record, a path is unknown or a name is taken.
    pub fn compile(
        schema: &DatumSchema,
        lineage: bool,
        renames: &[(String, String)],
    ) -> Result<Self, SchemaError> {
        let mut json: Value =
            serde_json::from_str(schema.json()).map_err(|error| SchemaError::Parse(error.to_string()))?;
        // Fields appended to a record that contains itself would be expected inside it as well.
        if lineage && SchemaAnalysis::of(schema).is_cyclic(schema.root()) {
            json = wrapped(schema);
        }
        for (path, name) in renames {
            rename(&mut json, path, name)?;
        }
        if lineage {
            let fields =
                fields(&mut json).ok_or_else(|| unsupported("", "lineage is appended to a record"))?;
            for field in lineage_fields() {
                if let Some(name) = field["name"].as_str().filter(|&name| has(fields, name)) {
                    return Err(unsupported(name, "the lineage field's name is taken"));
                }
                fields.push(field);
            }
        }
        let extended =
            if lineage || !renames.is_empty() { DatumSchema::parse(&print(&json))? } else { schema.clone() };
        Ok(Self { validate: DatumValidator::compile(schema)?, extended, lineage })
    }

    /// Schema of the block's records.
    pub fn extended(&self) -> &DatumSchema {
        &self.extended
    }

    /// Appends one record; on error the block is as it was.
    ///
    /// # Errors
    /// [`DatumError`].
    #[inline]
    pub fn append(
        &self,
        datum: &[u8],
        lineage: &RecordLineage<'_>,
        block: &mut Vec<u8>,
    ) -> Result<(), DatumError> {
        self.validate.run(datum)?;
        block.extend_from_slice(datum);
        if self.lineage {
            write_len(lineage.topic.len(), block);
            block.extend_from_slice(lineage.topic.as_bytes());
            write_long(i64::from(lineage.partition), block);
            write_long(lineage.offset, block);
            match lineage.timestamp_ms {
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

fn lineage_fields() -> [Value; 5] {
    [
        json!({"name": "_topic", "type": "string"}),
        json!({"name": "_partition", "type": "int"}),
        json!({"name": "_offset", "type": "long"}),
        json!({"name": "_timestamp", "default": null,
            "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]}),
        json!({"name": "_schema_id", "type": "int"}),
    ]
}

fn unsupported(path: &str, why: &str) -> SchemaError {
    SchemaError::Unsupported { path: path.to_owned(), why: why.to_owned() }
}

fn has(fields: &[Value], name: &str) -> bool {
    fields.iter().any(|field| field["name"] == name)
}

/// The fields of a record, through a nested `{"type": {…}}` and through the one record of a union.
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

fn rename(schema: &mut Value, path: &str, name: &str) -> Result<(), SchemaError> {
    let unknown = || SchemaError::UnknownPath(path.to_owned());
    let mut record = schema;
    let (parents, last) = path.rsplit_once('.').map_or((None, path), |(parents, last)| (Some(parents), last));
    for step in parents.into_iter().flat_map(|parents| parents.split('.')) {
        let field = fields(record).and_then(|fields| fields.iter_mut().find(|field| field["name"] == step));
        record = field.and_then(|field| field.get_mut("type")).ok_or_else(unknown)?;
    }
    let fields = fields(record).ok_or_else(unknown)?;
    if name != last && has(fields, name) {
        return Err(unsupported(path, "the new name is taken"));
    }
    let field = fields.iter_mut().find(|field| field["name"] == last).ok_or_else(unknown)?;
    if name == last {
        return Ok(());
    }
    let field = field.as_object_mut().ok_or_else(unknown)?;
    field.insert("name".into(), name.into());
    match field.entry("aliases").or_insert_with(|| json!([])) {
        Value::Array(aliases) => aliases.push(last.into()),
        _ => return Err(unknown()),
    }
    Ok(())
}
