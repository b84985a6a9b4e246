//! Counts the records of Avro container files by their block headers, without decoding any.
//! Format: the Avro specification, "Object Container Files".

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Returns the number of records in all `.avro` files under `dir`.
pub(crate) fn records_under(dir: &Path) -> Result<i64> {
    let mut sum = 0;
    if !dir.exists() {
        return Ok(0);
    }
    for entry in std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            sum += records_under(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "avro") {
            let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            sum += records(&bytes).with_context(|| format!("reading {}", path.display()))?;
        }
    }
    Ok(sum)
}

fn records(bytes: &[u8]) -> Result<i64> {
    let mut rest = bytes.strip_prefix(b"Obj\x01").context("no Avro container")?;
    loop {
        let mut pairs = long(&mut rest)?;
        if pairs == 0 {
            break;
        }
        if pairs < 0 {
            long(&mut rest)?; // the map block's size
            pairs = -pairs;
        }
        for _ in 0..2 * pairs {
            let length = long(&mut rest)?;
            take(&mut rest, length)?;
        }
    }
    let sync = take(&mut rest, 16)?;
    let mut sum = 0;
    while !rest.is_empty() {
        sum += long(&mut rest)?;
        let size = long(&mut rest)?;
        take(&mut rest, size)?;
        ensure!(take(&mut rest, 16)? == sync, "a block does not end with the sync marker");
    }
    Ok(sum)
}

fn take<'a>(rest: &mut &'a [u8], length: i64) -> Result<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(usize::try_from(length)?).context("cut short")?;
    *rest = tail;
    Ok(head)
}

/// Reads a zig-zag varint.
fn long(rest: &mut &[u8]) -> Result<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    anyhow::bail!("a number of more than 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_summed() {
        let sync = [7; 16];
        let mut file = b"Obj\x01\x02\x04ab\x02c\x00".to_vec(); // one pair: "ab" → "c"
        file.extend(sync);
        for (count, data) in [(3_u8, &b"xyz"[..]), (150, b"")] {
            let zigzag = u16::from(count) * 2;
            if zigzag < 128 {
                file.push(zigzag as u8);
            } else {
                file.extend([(zigzag & 0x7f) as u8 | 0x80, (zigzag >> 7) as u8]);
            }
            file.push(data.len() as u8 * 2);
            file.extend(data);
            file.extend(sync);
        }
        assert_eq!(records(&file).unwrap(), 153);
        assert!(records(&file[..file.len() - 1]).is_err());
    }
}
