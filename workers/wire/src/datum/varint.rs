//! Zig-zag varints of the Avro specification ("Binary Encoding", primitive types).

/// Appends a `long`.
#[inline]
pub(crate) fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a length; a slice's length always fits a `long`.
#[inline]
pub(crate) fn write_len(len: usize, out: &mut Vec<u8>) {
    write_long(len as i64, out);
}
