//! Reader/writer resolution of single leaves.

use super::{LeafProjection, unsupported};
use crate::SchemaError;
use crate::from_json::encode_default;
use crate::leaf::{LeafValue, read_leaf};
use crate::schema::{DatumSchema, LeafKind, LeafType, NodeId, SchemaField, SchemaNode};

/// What makes a writer's leaf the reader's.
pub(super) enum LeafPromotion {
    None,
    Long,
    Float,
    Double,
    Bytes,
    String,
    /// The reader's place and symbol for each of the writer's.
    Enum(Vec<(u32, String)>),
}

impl LeafPromotion {
    #[inline]
    pub(super) fn apply<'d>(&'d self, leaf: LeafValue<'d>) -> Option<LeafValue<'d>> {
        Some(match (self, leaf) {
            (Self::None, leaf) => leaf,
            (Self::Long, LeafValue::Int(value)) => LeafValue::Long(value.into()),
            (Self::Float, LeafValue::Int(value)) => LeafValue::Float(value as f32),
            (Self::Float, LeafValue::Long(value)) => LeafValue::Float(value as f32),
            (Self::Double, LeafValue::Int(value)) => LeafValue::Double(value.into()),
            (Self::Double, LeafValue::Long(value)) => LeafValue::Double(value as f64),
            (Self::Double, LeafValue::Float(value)) => LeafValue::Double(value.into()),
            (Self::Bytes, LeafValue::String(text)) => LeafValue::Bytes(text.as_bytes()),
            (Self::String, LeafValue::Bytes(bytes)) => {
                LeafValue::String(simdutf8::basic::from_utf8(bytes).ok()?)
            }
            (Self::Enum(symbols), LeafValue::Enum { index, .. }) => {
                let (index, symbol) = symbols.get(index as usize)?;
                LeafValue::Enum { index: *index, symbol }
            }
            (_, leaf) => leaf,
        })
    }

    fn between(writer: &LeafType, reader: &LeafType, default: Option<&str>) -> Option<Self> {
        use LeafKind as K;
        Some(match (writer.kind, reader.kind) {
            (K::Enum, K::Enum) if writer.symbols != reader.symbols => {
                let there = |symbol: &String| {
                    let find = |wanted: &str| reader.symbols.iter().position(|symbol| symbol == wanted);
                    let place = find(symbol).or_else(|| find(default?))?;
                    Some((place as u32, reader.symbols.get(place)?.clone()))
                };
                Self::Enum(writer.symbols.iter().map(there).collect::<Option<_>>()?)
            }
            (K::Fixed, K::Fixed) if writer.size != reader.size => return None,
            (a, b) if a == b => Self::None,
            (K::Int, K::Long) => Self::Long,
            (K::Int | K::Long, K::Float) => Self::Float,
            (K::Int | K::Long | K::Float, K::Double) => Self::Double,
            (K::String, K::Bytes) => Self::Bytes,
            (K::Bytes, K::String) => Self::String,
            _ => return None,
        })
    }
}

/// A reader's default for a field that the writer does not have.
pub(super) struct ReaderDefault {
    pub(super) place: usize,
    /// `None` for a default of null.
    encoded: Option<(LeafType, Vec<u8>)>,
}

impl ReaderDefault {
    pub(super) fn leaf(&self) -> LeafValue<'_> {
        let read = self.encoded.as_ref().and_then(|(leaf, bytes)| read_leaf(leaf, bytes, 0));
        read.map_or(LeafValue::Null, |(leaf, _)| leaf)
    }
}

enum LeafSource {
    /// The leaf's path in the writer.
    Writer(String, LeafPromotion),
    Default(Option<(LeafType, Vec<u8>)>),
}

pub(super) fn compile(
    writer: &DatumSchema,
    reader: &DatumSchema,
    paths: &[&str],
) -> Result<LeafProjection, SchemaError> {
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
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    let mut project = LeafProjection::compile(writer, &written)?;
    // The project's slots are in datum order; ours are in the order of the paths.
    let mut promotions: Vec<Option<LeafPromotion>> = promotions.into_iter().map(Some).collect();
    let slots = project.places.iter();
    project.promotions =
        slots.map(|&place| promotions[place].take().unwrap_or(LeafPromotion::None)).collect();
    project.places = project.places.iter().map(|&place| places[place]).collect();
    project.defaults = defaults;
    Ok(project)
}

fn find(writer: &DatumSchema, reader: &DatumSchema, path: &str) -> Result<LeafSource, SchemaError> {
    let (mut there, mut here) = (writer.root(), reader.root());
    let mut written = String::new();
    let mut steps = path.split('.').peekable();
    while let Some(step) = steps.next() {
        let unknown = || SchemaError::UnknownPath(path.to_owned());
        let field = fields(reader, here).iter().find(|field| field.name == step).ok_or_else(unknown)?;
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
        if nullable(writer, source.node) && !nullable(reader, field.node) {
            return Err(unsupported(path, "the writer's null has no place in the reader's type"));
        }
        (there, here) = (unwrap(writer, source.node), unwrap(reader, field.node));
    }
    match (writer.node(there), reader.node(here)) {
        (SchemaNode::Leaf { leaf: from, .. }, SchemaNode::Leaf { leaf: to, attributes }) => {
            let symbol = attributes.get("default").and_then(serde_json::Value::as_str);
            let promotion = LeafPromotion::between(from, to, symbol).ok_or_else(|| {
                unsupported(path, &format!("{} does not become {}", from.kind.as_str(), to.kind.as_str()))
            })?;
            Ok(LeafSource::Writer(written, promotion))
        }
        _ => Err(unsupported(path, "not a leaf in both schemas")),
    }
}

fn default(
    reader: &DatumSchema,
    field: &SchemaField,
    path: &str,
    inside: bool,
) -> Result<LeafSource, SchemaError> {
    let Some(value) = &field.default else {
        return Err(unsupported(path, "the writer lacks it, and the reader has no default"));
    };
    if value.is_null() {
        return Ok(LeafSource::Default(None));
    }
    match reader.node(unwrap(reader, field.node)) {
        SchemaNode::Leaf { leaf, .. } if !inside => {
            let node = unwrap(reader, field.node);
            let mut bytes = Vec::new();
            encode_default(reader, node, value, 0, &mut bytes)
                .ok_or_else(|| unsupported(path, "the default is not a value of the field's type"))?;
            Ok(LeafSource::Default(Some((leaf.clone(), bytes))))
        }
        _ => Err(unsupported(path, "inside a default that is no leaf")),
    }
}

fn fields(schema: &DatumSchema, id: NodeId) -> &[SchemaField] {
    match schema.node(id) {
        SchemaNode::Record { fields, .. } => fields,
        _ => &[],
    }
}

fn aliases(field: &SchemaField) -> impl Iterator<Item = &str> {
    let aliases = field.attributes.get("aliases").and_then(serde_json::Value::as_array);
    aliases.into_iter().flatten().filter_map(serde_json::Value::as_str)
}

fn nullable(schema: &DatumSchema, id: NodeId) -> bool {
    match schema.node(id) {
        SchemaNode::Union { branches } => branches.iter().any(|&branch| schema.is_null(branch)),
        _ => schema.is_null(id),
    }
}

/// T of `["null", T]`.
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
