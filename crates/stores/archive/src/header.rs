//! Reads the metadata of an Avro container file's header, and nothing after it.
//!
//! ```text
//! 'O' 'b' 'j' 01 | blocks of (count, [byte size if count < 0], count × (string key, bytes value)) … 0 | sync marker
//! ```
//! (Avro 1.12 specification, "Object Container Files".)

/// The reason why a header has no offset.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum ArchiveHeaderError {
    /// The header is longer than the given bytes.
    #[error("the header is cut off")]
    Incomplete,
    /// The bytes are not a container file.
    #[error("not an Avro container file")]
    NotAvro,
    /// The bytes are a container file of another writer.
    #[error("its metadata has no valid sluice.first or sluice.last: it was not written by this archive")]
    NotOurs,
}

/// Returns the offset of the last record inside, from the metadata key `sluice.last`.
pub(super) fn last_offset(bytes: &[u8]) -> Result<i64, ArchiveHeaderError> {
    offset(bytes, "sluice.last")
}

/// Returns the offset of the first record inside, from the metadata key `sluice.first`.
pub(super) fn first_offset(bytes: &[u8]) -> Result<i64, ArchiveHeaderError> {
    offset(bytes, "sluice.first")
}

/// Returns the offset under the metadata key `wanted`.
fn offset(bytes: &[u8], wanted: &str) -> Result<i64, ArchiveHeaderError> {
    let mut rest = bytes.strip_prefix(b"Obj\x01").ok_or(ArchiveHeaderError::NotAvro)?;
    let mut found = Err(ArchiveHeaderError::NotOurs);

    // The metadata is a map in blocks. A block of zero entries ends it.
    loop {
        let mut count = long(&mut rest)?;
        if count == 0 {
            return found;
        }
        // A negative count is followed by the block's size in bytes, which is not needed here.
        if count < 0 {
            long(&mut rest)?;
            count = count.checked_neg().ok_or(ArchiveHeaderError::NotAvro)?;
        }
        // The map is read to its end: a header that is cut off is never taken for a complete one.
        for _ in 0..count {
            let key = bytes_of(&mut rest)?;
            let value = bytes_of(&mut rest)?;
            if key == wanted.as_bytes() {
                found = std::str::from_utf8(value)
                    .ok()
                    .and_then(|v| v.parse().ok())
                    .ok_or(ArchiveHeaderError::NotOurs);
            }
        }
    }
}

/// Takes an Avro string or bytes from the front of `rest`: a long with the length, then the bytes.
fn bytes_of<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], ArchiveHeaderError> {
    let length = usize::try_from(long(rest)?).map_err(|_| ArchiveHeaderError::NotAvro)?;
    let (value, after) = rest.split_at_checked(length).ok_or(ArchiveHeaderError::Incomplete)?;
    *rest = after;
    Ok(value)
}

/// Takes an Avro long from the front of `rest`: groups of 7 bits, the lowest first.
fn long(rest: &mut &[u8]) -> Result<i64, ArchiveHeaderError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or(ArchiveHeaderError::Incomplete)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            // Zigzag: the lowest bit is the sign.
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(ArchiveHeaderError::NotAvro)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut out = b"Obj\x01".to_vec();
        // Counts and lengths below 64 are one byte: twice the number.
        out.push(entries.len() as u8 * 2);
        for (key, value) in entries {
            for text in [key, value] {
                out.push(text.len() as u8 * 2);
                out.extend_from_slice(text.as_bytes());
            }
        }
        out.push(0);
        out.extend_from_slice(&[7; 16]);
        out
    }

    #[test]
    fn the_last_offset_is_read_from_the_header_alone() {
        assert_eq!(last_offset(&header(&[("avro.codec", "null"), ("sluice.last", "41")])), Ok(41));
        let with_size = [&b"Obj\x01\x01\x24"[..], b"\x16sluice.last", b"\x0441", b"\0"].concat();
        assert_eq!(last_offset(&with_size), Ok(41));
    }

    #[test]
    fn a_header_cut_anywhere_is_incomplete_never_wrong() {
        let whole = header(&[("avro.codec", "null"), ("sluice.last", "41")]);
        let metadata_ends = whole.len() - 16;
        for cut in 4..metadata_ends {
            assert_eq!(last_offset(&whole[..cut]), Err(ArchiveHeaderError::Incomplete), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        assert_eq!(last_offset(b"PAR1"), Err(ArchiveHeaderError::NotAvro));
        assert_eq!(last_offset(&header(&[("avro.codec", "null")])), Err(ArchiveHeaderError::NotOurs));
        assert_eq!(last_offset(&header(&[("sluice.last", "many")])), Err(ArchiveHeaderError::NotOurs));
        assert_eq!(
            last_offset(b"Obj\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            Err(ArchiveHeaderError::NotAvro)
        );
    }
}
