//! Decimals as Avro encodes them: two's complement, big-endian, with the scale in the schema. Source: the
//! Avro specification, section "Decimal".

/// Bytes of the largest decimal that is understood (38 digits).
const BYTES: usize = 16;

/// Returns a rounding interval in units of the decimal's last digit. `None` if it is finer than that, or too
/// large.
pub fn units(step: f64, scale: u32) -> Option<i128> {
    // 10^18 is the largest power whose multiples up to the steps of a contract stay in range.
    let factor = 10_i64.checked_pow(scale)? as f64;
    let units = step * factor;
    // 0.1 is not exact as a float, so that a whole number of units may miss by a little.
    let whole = (units - units.round()).abs() < 1e-6 && (0.5..9.0e15).contains(&units);
    whole.then(|| units.round() as i128)
}

/// Rounds an encoded decimal down to a multiple of `step`. `None` if the decimal is empty or too large, or if
/// the result does not fit.
pub fn floor(bytes: &[u8], step: i128) -> Option<i128> {
    // Extend the sign to sixteen bytes.
    let first = *bytes.first()?;
    let mut wide = if first & 0x80 == 0 { [0x00; BYTES] } else { [0xff; BYTES] };
    wide.get_mut(BYTES.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);

    // Towards minus infinity, also below zero.
    let value = i128::from_be_bytes(wide);
    value.checked_sub(value.checked_rem_euclid(step)?)
}

/// Returns the value in sixteen bytes, and the index at which its shortest form begins.
pub fn bytes(value: i128) -> ([u8; BYTES], usize) {
    let wide = value.to_be_bytes();
    let sign = if value < 0 { 0xff } else { 0x00 };
    // A leading byte is needless if it only repeats the sign bit of the next byte. The last byte always
    // stays.
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
