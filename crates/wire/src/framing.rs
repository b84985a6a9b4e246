//! The Confluent wire format: the bytes or headers by which a record names its schema.
//!
//! ```text
//!  value:   0x00 │ schema id, 4 bytes big-endian │ datum          the classic prefix
//!  header:  "__value_schema_id": 0x01 │ GUID, 16 bytes            header-borne; the value is the datum alone
//!           "__value_schema_id": 0x00 │ id, 4 bytes               an id in the header, same order as the prefix
//! ```
//!
//! Source: Confluent Schema Registry, "Wire format" and `SchemaIdSerializer` (`PrefixSchemaIdSerializer`,
//! `HeaderSchemaIdSerializer`).

use sluice_core::SchemaId;

/// Bytes of the prefix before the datum.
pub const PREFIX: usize = 5;
/// The header that carries the id of the value's schema if the prefix does not.
pub const VALUE_HEADER: &str = "__value_schema_id";
/// The header that carries the id of the key's schema if the prefix does not.
pub const KEY_HEADER: &str = "__key_schema_id";

// The first byte of a prefix or header value tells the two forms of an id apart.
const MAGIC_ID: u8 = 0;
const MAGIC_GUID: u8 = 1;

/// A value without the framing of Confluent's serializers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The value is shorter than the prefix.
    #[error("expected at least 5 bytes: magic byte 0 and a schema id of 4 bytes")]
    TooShort,
    /// The first byte is not 0.
    #[error("expected magic byte 0 before the schema id")]
    Magic,
    /// The header value has neither of the two forms.
    #[error("expected a schema id header of 5 bytes (magic 0) or 17 bytes (magic 1)")]
    Header,
}

/// How a record names its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemaRef {
    /// By the registry's id.
    Id(SchemaId),
    /// By the registry's globally unique id (16 bytes, in the order of its text form). The reader looks it
    /// up.
    Guid([u8; 16]),
}

/// Splits a value into schema id and datum.
///
/// # Errors
/// [`FramingError`] if the prefix is missing.
#[inline]
pub fn split(value: &[u8]) -> Result<(SchemaId, &[u8]), FramingError> {
    let (prefix, datum) = value.split_first_chunk::<PREFIX>().ok_or(FramingError::TooShort)?;
    let [magic, a, b, c, d] = *prefix;
    if magic != MAGIC_ID {
        return Err(FramingError::Magic);
    }
    Ok((SchemaId(u32::from_be_bytes([a, b, c, d])), datum))
}

/// Splits a value whose schema may be named in a header. With a header the whole value is the datum.
///
/// # Errors
/// [`FramingError`] if the header or, without a header, the prefix is malformed.
pub fn split_with_header<'v>(
    header: Option<&[u8]>,
    value: &'v [u8],
) -> Result<(SchemaRef, &'v [u8]), FramingError> {
    // A header wins: serializers that write the header write no prefix.
    match header {
        Some(header) => Ok((read_header(header)?, value)),
        None => split(value).map(|(id, datum)| (SchemaRef::Id(id), datum)),
    }
}

/// Reads the value of a [`VALUE_HEADER`] or [`KEY_HEADER`].
///
/// # Errors
/// [`FramingError::Header`] if the value has another shape.
pub fn read_header(header: &[u8]) -> Result<SchemaRef, FramingError> {
    match *header {
        [MAGIC_ID, a, b, c, d] => Ok(SchemaRef::Id(SchemaId(u32::from_be_bytes([a, b, c, d])))),
        [MAGIC_GUID, ref guid @ ..] => guid.try_into().map(SchemaRef::Guid).map_err(|_| FramingError::Header),
        _ => Err(FramingError::Header),
    }
}

/// Appends the header value for a schema.
pub fn write_header(schema: SchemaRef, out: &mut Vec<u8>) {
    match schema {
        // An id in a header has the same five bytes as the prefix.
        SchemaRef::Id(id) => write_prefix(id, out),
        SchemaRef::Guid(guid) => {
            out.push(MAGIC_GUID);
            out.extend_from_slice(&guid);
        }
    }
}

/// Appends the five bytes of the prefix.
#[inline]
pub fn write_prefix(id: SchemaId, out: &mut Vec<u8>) {
    let [a, b, c, d] = id.0.to_be_bytes();
    out.extend_from_slice(&[MAGIC_ID, a, b, c, d]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_round_trip() {
        let mut value = Vec::new();
        write_prefix(SchemaId(0x0102_0304), &mut value);
        value.extend_from_slice(b"datum");
        assert_eq!(value[..5], [0, 1, 2, 3, 4]);
        assert_eq!(split(&value), Ok((SchemaId(0x0102_0304), &b"datum"[..])));
    }

    #[test]
    fn every_short_value_and_other_magic_is_refused() {
        for len in 0..PREFIX {
            assert_eq!(split(&vec![0; len]), Err(FramingError::TooShort));
        }
        for magic in 1..=u8::MAX {
            assert_eq!(split(&[magic, 0, 0, 0, 1]), Err(FramingError::Magic));
        }
    }

    #[test]
    fn header_borne_schema() {
        for schema in [SchemaRef::Id(SchemaId(7)), SchemaRef::Guid([9; 16])] {
            let mut header = Vec::new();
            write_header(schema, &mut header);
            assert_eq!(split_with_header(Some(&header), b"x"), Ok((schema, &b"x"[..])));
            assert_eq!(read_header(&header[..header.len() - 1]), Err(FramingError::Header));
        }
        assert_eq!(read_header(&[]), Err(FramingError::Header));
        assert_eq!(split_with_header(None, &[0, 0, 0, 0, 3, 8]), Ok((SchemaRef::Id(SchemaId(3)), &[8][..])));
    }
}
