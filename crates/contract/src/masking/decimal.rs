//! Decimals as Avro writes them: two's complement, big-endian, the scale in the schema.

/// Bytes of the largest decimal that is understood here (38 digits).
const BYTES: usize = 16;

/// A step in units of the decimal's last digit; `None` if it is finer than that, or too large.
pub fn units(step: f64, scale: u32) -> Option<i128> {
    // 10^18 is the largest power whose multiples up to the steps of a contract stay in range.
    let factor = 10_i64.checked_pow(scale)? as f64;
    let units = step * factor;
    let whole = (units - units.round()).abs() < 1e-6 && (0.5..9.0e15).contains(&units);
    whole.then(|| units.round() as i128)
}

/// Rounds down to a multiple of `step`. `None` for an empty, a too large one, or one that does not fit any more.
pub fn floor(bytes: &[u8], step: i128) -> Option<i128> {
    let first = *bytes.first()?;
    let mut wide = if first & 0x80 == 0 { [0x00; BYTES] } else { [0xff; BYTES] };
    wide.get_mut(BYTES.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    let value = i128::from_be_bytes(wide);
    value.checked_sub(value.checked_rem_euclid(step)?)
}

/// Sixteen bytes, and where the shortest form of the value begins in them.
pub fn bytes(value: i128) -> ([u8; BYTES], usize) {
    let wide = value.to_be_bytes();
    let sign = if value < 0 { 0xff } else { 0x00 };
    let needless = |at: usize| wide[at] == sign && (wide[at + 1] ^ sign) & 0x80 == 0;
    let from = (0..BYTES - 1).find(|&at| !needless(at)).unwrap_or(BYTES - 1);
    (wide, from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortest(value: i128) -> Vec<u8> {
        let (wide, from) = bytes(value);
        wide[from..].to_vec()
    }

    #[test]
    fn the_shortest_form_reads_back() {
        for value in [0, 1, -1, 127, 128, -128, -129, 255, 256, 32_767, 32_768, -32_769, i128::MAX, i128::MIN]
        {
            assert_eq!(floor(&shortest(value), 1), Some(value));
        }
        assert_eq!(shortest(128), [0x00, 0x80]);
        assert_eq!(shortest(-128), [0x80]);
        assert_eq!(shortest(0), [0x00]);
    }

    #[test]
    fn a_decimal_goes_down_to_its_step() {
        // 12.345 kWh and -0.001 kWh at scale 3, step 0.5
        let step = units(0.5, 3).unwrap();
        assert_eq!(floor(&shortest(12_345), step), Some(12_000));
        assert_eq!(floor(&shortest(-1), step), Some(-500));
        assert_eq!(units(0.0001, 3), None);
        assert_eq!(floor(&[], step), None);
        assert_eq!(floor(&[0; 17], step), None);
    }
}
