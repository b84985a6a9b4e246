//! Refuses values that are valid Avro and that a column cannot hold: record by record, before they are in a
//! batch.
//!
//! A timestamp in milliseconds may be too large for microseconds in 64 bits, and the bytes of a decimal may
//! have more digits than its precision. Leaves inside arrays, maps and unions are not checked here: such a
//! value fails the flush.

use sluice_core::{OutcomeReason, ReasonClass};
use sluice_wire::{DatumSchema, LeafInfo, LeafProjection, LeafValue, LogicalType};

/// The largest precision that is stored as a decimal. More digits are stored as text.
const DECIMAL_DIGITS: u32 = 38;

/// The checks of one writer's schema.
pub(super) struct ColumnGuard {
    leaves: LeafProjection,
    limits: Vec<(String, ColumnLimit)>,
}

/// The limit of one leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ColumnLimit {
    /// Milliseconds that must fit 64 bits as microseconds.
    Millis,
    /// The absolute unscaled value of a decimal must be below this: 10 to the power of the precision.
    Below(i128),
}

impl ColumnGuard {
    /// Compiles the checks of a schema. `None` if no leaf needs a check.
    pub(super) fn compile(schema: &DatumSchema, leaves: &[LeafInfo]) -> Option<Self> {
        // A projection cannot reach into arrays, maps and unions.
        let plain = |leaf: &&LeafInfo| !leaf.path.contains(['[', '{', '<']);
        let limits: Vec<_> = leaves
            .iter()
            .filter(plain)
            .filter_map(|leaf| Some((leaf.path.clone(), limit(leaf.leaf.logical?)?)))
            .collect();

        // Most schemas need no check, and then a datum is not walked for it.
        let paths: Vec<_> = limits.iter().map(|(path, _)| path.as_str()).collect();
        if paths.is_empty() {
            return None;
        }
        LeafProjection::compile(schema, &paths).ok().map(|leaves| Self { leaves, limits })
    }

    /// Checks that each column can hold its value of `datum`.
    ///
    /// # Errors
    /// Refuses the record with the path of the first leaf that does not fit.
    pub(super) fn check(&self, datum: &[u8]) -> Result<(), OutcomeReason> {
        // Indices of the projection are those of `limits`. The first refusal is kept.
        let mut refused = None;
        self.leaves.run(datum, |index, leaf| {
            if let Some((path, limit)) = self.limits.get(index)
                && !limit.holds(&leaf)
            {
                refused.get_or_insert((path, limit));
            }
        })?;

        let Some((path, limit)) = refused else { return Ok(()) };
        let expected = match limit {
            ColumnLimit::Millis => "expected a time that fits microseconds in 64 bits",
            ColumnLimit::Below(_) => "expected at most as many digits as the decimal's precision",
        };
        Err(OutcomeReason::new(ReasonClass::Type, expected).at(path, None))
    }
}

/// Returns the limit of a leaf with this logical type, if it has one.
fn limit(logical: LogicalType) -> Option<ColumnLimit> {
    match logical {
        LogicalType::TimestampMillis | LogicalType::LocalTimestampMillis => Some(ColumnLimit::Millis),
        LogicalType::Decimal { precision, .. } if precision <= DECIMAL_DIGITS => {
            10_i128.checked_pow(precision).map(ColumnLimit::Below)
        }
        _ => None,
    }
}

impl ColumnLimit {
    /// Tells whether a value is within the limit.
    fn holds(self, leaf: &LeafValue<'_>) -> bool {
        match (self, leaf) {
            // Null is a matter of the column, not of the limit.
            (_, LeafValue::Null) => true,
            (Self::Millis, LeafValue::Long(millis)) => millis.checked_mul(1000).is_some(),
            (Self::Below(limit), LeafValue::Bytes(bytes) | LeafValue::Fixed(bytes)) => {
                unscaled(bytes).is_some_and(|value| value > -limit && value < limit)
            }
            _ => true,
        }
    }
}

/// Returns the two's complement, big-endian number in `bytes`. `None` if it does not fit 128 bits.
fn unscaled(bytes: &[u8]) -> Option<i128> {
    // Avro does not limit the length. Bytes in front of the last 16 may only repeat the sign.
    let (sign, value) = bytes.split_at(bytes.len().saturating_sub(16));
    let negative = bytes.first().is_some_and(|&byte| byte & 0x80 != 0);
    let filler = if negative { 0xff } else { 0 };

    // The fold begins with the sign, and a short number is extended by it.
    let number = value.iter().fold(if negative { -1_i128 } else { 0 }, |n, &byte| n << 8 | i128::from(byte));
    (sign.iter().all(|&byte| byte == filler) && (number < 0) == negative).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_as_twos_complement() {
        assert_eq!(unscaled(&[]), Some(0));
        assert_eq!(unscaled(&[0xff]), Some(-1));
        assert_eq!(unscaled(&[0x00, 0xff]), Some(255));
        assert_eq!(unscaled(&[0x80]), Some(-128));
        assert_eq!(unscaled(&[[0xff; 4].as_slice(), &[0xff; 16]].concat()), Some(-1));
        assert_eq!(unscaled(&[[0x00; 4].as_slice(), &[0x80], &[0; 15]].concat()), None);
        assert_eq!(unscaled(&[[0x01].as_slice(), &[0; 16]].concat()), None);
    }

    #[test]
    fn limits_hold_to_the_last_digit() {
        let five_digits = ColumnLimit::Below(100_000);
        assert!(five_digits.holds(&LeafValue::Bytes(&99_999_i32.to_be_bytes())));
        assert!(five_digits.holds(&LeafValue::Bytes(&(-99_999_i32).to_be_bytes())));
        assert!(!five_digits.holds(&LeafValue::Bytes(&100_000_i32.to_be_bytes())));
        assert!(ColumnLimit::Millis.holds(&LeafValue::Long(i64::MAX / 1000)));
        assert!(!ColumnLimit::Millis.holds(&LeafValue::Long(i64::MAX / 1000 + 1)));
    }
}
