//! Resolves single leaves between a writer's and a reader's schema (specification, "Schema Resolution").

use super::{LeafProjection, unsupported};
use crate::SchemaError;
use crate::from_json::encode_default;
use crate::leaf::{LeafValue, read_leaf};
use crate::schema::{DatumSchema, LeafKind, LeafType, NodeId, SchemaField, SchemaNode};

/// The conversion of a writer's leaf to the reader's.
pub(super) enum LeafPromotion {
    /// The types are the same.
    None,
    Long,
    Float,
    Double,
    Bytes,
    String,
    /// The reader's index and symbol for each of the writer's symbols.
    Enum(Vec<(u32, String)>),
}

impl LeafPromotion {
    /// Converts a leaf. Returns `None` if bytes are not UTF-8 where the reader has a string.
    #[inline]
    pub(super) fn apply<'d>(&'d self, leaf: LeafValue<'d>) -> Option<LeafValue<'d>> {
        Some(match (self, leaf) {
            // Numbers: always to a wider type, as the specification allows; a float can lose precision.
            (Self::None, leaf) => leaf,
            (Self::Long, LeafValue::Int(value)) => LeafValue::Long(value.into()),
            (Self::Float, LeafValue::Int(value)) => LeafValue::Float(value as f32),
            (Self::Float, LeafValue::Long(value)) => LeafValue::Float(value as f32),
            (Self::Double, LeafValue::Int(value)) => LeafValue::Double(value.into()),
            (Self::Double, LeafValue::Long(value)) => LeafValue::Double(value as f64),
            (Self::Double, LeafValue::Float(value)) => LeafValue::Double(value.into()),

            // Bytes and text have the same encoding; only the check differs.
            (Self::Bytes, LeafValue::String(text)) => LeafValue::Bytes(text.as_bytes()),
            (Self::String, LeafValue::Bytes(bytes)) => {
                LeafValue::String(simdutf8::basic::from_utf8(bytes).ok()?)
            }

            // The index is below the writer's symbols, and `between` found a counterpart for each of them.
            (Self::Enum(symbols), LeafValue::Enum { index, .. }) => {
                let (index, symbol) = symbols.get(index as usize)?;
                LeafValue::Enum { index: *index, symbol }
            }
            (_, leaf) => leaf,
        })
    }

    /// Returns the conversion between two types, or `None` if the specification has none.
    /// `default` is the reader's default symbol.
    fn between(writer: &LeafType, reader: &LeafType, default: Option<&str>) -> Option<Self> {
        use LeafKind as K;

        Some(match (writer.kind, reader.kind) {
            (K::Enum, K::Enum) if writer.symbols != reader.symbols => {
                // A symbol that the reader lacks becomes the reader's default symbol.
                let there = |symbol: &String| {
                    let find = |wanted: &str| reader.symbols.iter().position(|symbol| symbol == wanted);
                    let place = find(symbol).or_else(|| find(default?))?;
                    Some((place as u32, reader.symbols.get(place)?.clone()))
                };
                Self::Enum(writer.symbols.iter().map(there).collect::<Option<_>>()?)
            }

            // The same shape on both sides; a fixed must also have the same size.
            (K::Fixed, K::Fixed) if writer.size != reader.size => return None,
            (a, b) if a == b => Self::None,

            // The promotions of the specification.
            (K::Int, K::Long) => Self::Long,
            (K::Int | K::Long, K::Float) => Self::Float,
            (K::Int | K::Long | K::Float, K::Double) => Self::Double,
            (K::String, K::Bytes) => Self::Bytes,
            (K::Bytes, K::String) => Self::String,
            _ => return None,
        })
    }
}

/// The reader's default for a field that the writer does not have.
pub(super) struct ReaderDefault {
    /// The index in the caller's paths.
    pub(super) place: usize,
    /// The leaf and its encoding; `None` for a default of null.
    encoded: Option<(LeafType, Vec<u8>)>,
}

impl ReaderDefault {
    /// Returns the default's value.
    pub(super) fn leaf(&self) -> LeafValue<'_> {
        let read = self.encoded.as_ref().and_then(|(leaf, bytes)| read_leaf(leaf, bytes, 0));
        // The bytes were encoded for this very leaf.
        debug_assert!(self.encoded.is_none() || read.is_some(), "an encoded default reads back");
        read.map_or(LeafValue::Null, |(leaf, _)| leaf)
    }
}

/// The source of a wanted leaf.
enum LeafSource {
    /// The leaf's path in the writer.
    Writer(String, LeafPromotion),
    /// The reader's default, encoded; `None` for null.
    Default(Option<(LeafType, Vec<u8>)>),
}

/// Compiles a projection of the reader's paths over the writer's datums.
pub(super) fn compile(
    writer: &DatumSchema,
    reader: &DatumSchema,
    paths: &[&str],
) -> Result<LeafProjection, SchemaError> {
    // Find the source of every path. `places` keeps the caller's index of those that the writer has.
    let (mut written, mut promotions, mut places, mut defaults) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (place, path) in paths.iter().enumerate() {
        match find(writer, reader, path)? {
            LeafSource::Writer(there, promotion) => {
                written.push(there);
                promotions.push(promotion);
                places.push(place);
            }
            LeafSource::Default(encoded) => defaults.push(ReaderDefault { place, encoded }),
        }
    }

    // Project the writer's own paths.
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    let mut project = LeafProjection::compile(writer, &written)?;

    // The projection's slots are in datum order; promotions and places are in the order of the paths.
    // The project's slots are in datum order; ours are in the order of the paths.
    let mut promotions: Vec<Option<LeafPromotion>> = promotions.into_iter().map(Some).collect();
    let slots = project.places.iter();
    project.promotions =
        slots.map(|&place| promotions[place].take().unwrap_or(LeafPromotion::None)).collect();
    project.places = project.places.iter().map(|&place| places[place]).collect();
    project.defaults = defaults;
    Ok(project)
}

/// Finds the source of one of the reader's paths.
fn find(writer: &DatumSchema, reader: &DatumSchema, path: &str) -> Result<LeafSource, SchemaError> {
    // Go down both schemas at once; `written` is the path in the writer's names.
    let (mut there, mut here) = (writer.root(), reader.root());
    let mut written = String::new();
    let mut steps = path.split('.').peekable();
    while let Some(step) = steps.next() {
        let unknown = || SchemaError::UnknownPath(path.to_owned());
        let field = fields(reader, here).iter().find(|field| field.name == step).ok_or_else(unknown)?;

        // A field meets the writer's field of its name or of one of its aliases.
        let names = |other: &&SchemaField| {
            other.name == field.name || aliases(field).any(|alias| alias == other.name)
        };
        let Some(source) = fields(writer, there).iter().find(names) else {
            return default(reader, field, path, steps.peek().is_some());
        };

        if !written.is_empty() {
            written.push('.');
        }
        written.push_str(&source.name);
        // A null that appears in the writer's data must have a type in the reader's.
        if nullable(writer, source.node) && !nullable(reader, field.node) {
            return Err(unsupported(path, "the writer allows null: expected a type that allows null"));
        }
        (there, here) = (unwrap(writer, source.node), unwrap(reader, field.node));
    }

    // Both schemas must end at a leaf, with a promotion between the two.
    match (writer.node(there), reader.node(here)) {
        (SchemaNode::Leaf { leaf: from, .. }, SchemaNode::Leaf { leaf: to, attributes }) => {
            let symbol = attributes.get("default").and_then(serde_json::Value::as_str);
            let promotion = LeafPromotion::between(from, to, symbol).ok_or_else(|| {
                let (from, to) = (from.kind.as_str(), to.kind.as_str());
                unsupported(path, &format!("the writer's {from} cannot be read as the reader's {to}"))
            })?;
            Ok(LeafSource::Writer(written, promotion))
        }
        _ => Err(unsupported(path, "expected a leaf in both schemas")),
    }
}

/// Returns the reader's default for a field that the writer lacks. `inside` is true if the path goes on below
/// it.
fn default(
    reader: &DatumSchema,
    field: &SchemaField,
    path: &str,
    inside: bool,
) -> Result<LeafSource, SchemaError> {
    let Some(value) = &field.default else {
        return Err(unsupported(
            path,
            "the writer lacks the field: expected a default in the reader's schema",
        ));
    };

    // A null has no bytes to keep.
    if value.is_null() {
        return Ok(LeafSource::Default(None));
    }

    // Only a leaf can be encoded once and passed out for every datum.
    match reader.node(unwrap(reader, field.node)) {
        SchemaNode::Leaf { leaf, .. } if !inside => {
            let node = unwrap(reader, field.node);
            let mut bytes = Vec::new();
            encode_default(reader, node, value, 0, &mut bytes)
                .ok_or_else(|| unsupported(path, "expected a default of the field's type"))?;
            Ok(LeafSource::Default(Some((leaf.clone(), bytes))))
        }
        _ => Err(unsupported(path, "expected a leaf: the default is a whole record, array or map")),
    }
}

/// Returns the fields of a record, or no fields for another type.
fn fields(schema: &DatumSchema, id: NodeId) -> &[SchemaField] {
    match schema.node(id) {
        SchemaNode::Record { fields, .. } => fields,
        _ => &[],
    }
}

/// Returns the other names of a field.
fn aliases(field: &SchemaField) -> impl Iterator<Item = &str> {
    let aliases = field.attributes.get("aliases").and_then(serde_json::Value::as_array);
    aliases.into_iter().flatten().filter_map(serde_json::Value::as_str)
}

/// Tells whether data of the type can be null.
fn nullable(schema: &DatumSchema, id: NodeId) -> bool {
    match schema.node(id) {
        SchemaNode::Union { branches } => branches.iter().any(|&branch| schema.is_null(branch)),
        _ => schema.is_null(id),
    }
}

/// Returns T of `["null", T]`, or the type itself.
fn unwrap(schema: &DatumSchema, id: NodeId) -> NodeId {
    match schema.node(id) {
        SchemaNode::Union { branches } => match branches[..] {
            [one, other] if schema.is_null(one) => other,
            [one, other] if schema.is_null(other) => one,
            _ => id,
        },
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITER: &str = r#"{"type":"record","name":"W","fields":[
        {"name":"old","type":"int"},{"name":"in","type":["null",{"type":"record","name":"I","fields":[{"name":"x","type":"string"}]}]},
        {"name":"raw","type":"bytes"},{"name":"suit","type":{"type":"enum","name":"S","symbols":["A","B","C"]}}]}"#;
    const READER: &str = r#"{"type":"record","name":"W","fields":[
        {"name":"added","type":"string","default":"new"},{"name":"none","type":["null","long"],"default":null},
        {"name":"suit","type":{"type":"enum","name":"S","symbols":["C","B","Z"],"default":"Z"}},
        {"name":"now","type":"double","aliases":["old"]},{"name":"raw","type":"string"},
        {"name":"in","type":["null",{"type":"record","name":"I","fields":[{"name":"x","type":["null","bytes"]}]}]},
        {"name":"strict","type":"long"}]}"#;

    #[test]
    fn a_newer_reader_sees_its_own_types() {
        let (writer, reader) = (DatumSchema::parse(WRITER).unwrap(), DatumSchema::parse(READER).unwrap());
        let paths = ["added", "none", "suit", "now", "raw", "in.x"];
        let project = LeafProjection::compile_resolved(&writer, &reader, &paths).unwrap();
        let mut seen = Vec::new();
        let datum = [&[10, 2, 2, b'x', 4][..], b"ok", &[0]].concat();
        project.run(&datum, |place, leaf| seen.push((paths[place], leaf))).unwrap();
        let expected = [
            ("now", LeafValue::Double(5.0)),
            ("in.x", LeafValue::Bytes(b"x")),
            ("raw", LeafValue::String("ok")),
            ("suit", LeafValue::Enum { index: 2, symbol: "Z" }),
            ("added", LeafValue::String("new")),
            ("none", LeafValue::Null),
        ];
        assert_eq!(seen, expected);
        let error = project.run(&[10, 0, 2, 0xff, 0], |_, _| {}).unwrap_err();
        assert_eq!((error.path.as_str(), error.position), ("raw", 2));
    }

    #[test]
    fn what_does_not_resolve_is_found_when_compiled() {
        let (writer, reader) = (DatumSchema::parse(WRITER).unwrap(), DatumSchema::parse(READER).unwrap());
        let refused = |writer: &DatumSchema, reader: &DatumSchema, path: &str| {
            LeafProjection::compile_resolved(writer, reader, &[path]).is_err()
        };
        for path in ["strict", "unknown", "in", "in.y"] {
            assert!(refused(&writer, &reader, path), "{path}");
        }
        // The other way: double to int, optional to required, a symbol that is not there.
        for path in ["old", "suit"] {
            assert!(refused(&reader, &writer, path), "{path}");
        }
    }
}
