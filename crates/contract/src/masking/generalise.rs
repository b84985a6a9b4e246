//! Generalisation: the leaf becomes coarser, so that many leaves share one value.

use std::borrow::Cow;

use serde_json::{Value, json};
use sluice_wire::{LeafFn, LeafKind, LeafType, LeafValue, LeafWriter, LogicalType};

use super::decimal;
use super::postcode::OutwardCode;
use super::step::{DateStep, floor_fraction, floor_multiple};
use super::types;

/// A way to make a leaf coarser.
#[derive(Debug, Clone, PartialEq)]
pub enum GeneraliseRule {
    /// Dates, times and timestamps: rounded down to a step.
    Date(DateStep),
    /// Numbers: rounded down to a multiple of a positive step.
    Step(f64),
    /// Numbers: the bucket between ascending bounds, as text (`<10`, `10..20`, `>=20`).
    Buckets(Vec<f64>),
    /// UK postcodes: the outward part.
    Outward,
    /// Coordinates in degrees: rounded down to a grid with this distance in degrees.
    Grid(f64),
}

impl GeneraliseRule {
    /// Returns the type of the masked leaf as Avro schema JSON.
    ///
    /// # Errors
    /// Returns the reason why the rule cannot be applied to a leaf of this type.
    pub(crate) fn output(&self, input: &LeafType) -> Result<Value, String> {
        // Buckets and outward codes are texts; all other rules keep the type.
        self.scale(input).map(|_| match self {
            Self::Buckets(_) | Self::Outward => json!("string"),
            Self::Date(_) | Self::Step(_) | Self::Grid(_) => types::same(input),
        })
    }

    /// Returns the units per second for times, the units per one for decimals, and 1 for all other leaves.
    ///
    /// # Errors
    /// Returns the reason why the rule cannot be applied to a leaf of this type.
    fn scale(&self, input: &LeafType) -> Result<i64, String> {
        match (self, input.kind, input.logical) {
            // Dates, times and timestamps. The result must be a date or a time again.
            (Self::Date(step), LeafKind::Int, Some(LogicalType::Date)) if step.whole_days() => Ok(1),
            (Self::Date(_), _, Some(LogicalType::Date)) => {
                Err("a date needs a step of whole days".to_owned())
            }
            (Self::Date(step), LeafKind::Int | LeafKind::Long, Some(logical)) => {
                let units =
                    types::units_per_second(logical).ok_or("generalise date needs a date or a time")?;
                match types::is_instant(logical) || step.divides_a_day() {
                    true => Ok(units),
                    false => Err("a time of day needs a step that divides a day".to_owned()),
                }
            }
            (Self::Date(_), _, _) => {
                Err("generalise date needs a date, a time or a timestamp logical type".to_owned())
            }

            // Steps of numbers. A multiple must be exact in the leaf's type.
            (Self::Step(step), LeafKind::Int | LeafKind::Long, None) if step.fract() == 0.0 => Ok(1),
            (Self::Step(_), LeafKind::Int | LeafKind::Long, None) => {
                Err("a whole number needs a whole step".to_owned())
            }
            (Self::Step(step), LeafKind::Bytes, Some(LogicalType::Decimal { scale, .. })) => {
                decimal::units(*step, scale)
                    .ok_or_else(|| "the step is finer than the decimal's scale".to_owned())?;
                Ok(10_i64.pow(scale))
            }
            (Self::Step(_) | Self::Buckets(_) | Self::Grid(_), LeafKind::Float | LeafKind::Double, None) => {
                Ok(1)
            }

            // Buckets, postcodes and coordinates. Integers have no grid.
            (Self::Buckets(_), LeafKind::Int | LeafKind::Long, None) => Ok(1),
            (Self::Outward, LeafKind::String, None) => Ok(1),

            // The rest does not fit.
            (Self::Outward, _, _) => Err("generalise geo outward needs a string".to_owned()),
            (Self::Grid(_), _, _) => Err("generalise geo grid needs a float or a double".to_owned()),
            (Self::Step(_), _, Some(_)) => {
                Err("a step of numbers cannot be applied to this logical type".to_owned())
            }
            (Self::Step(_), _, None) => Err("a step needs a number".to_owned()),
            (Self::Buckets(_), _, _) => Err("buckets need a number".to_owned()),
        }
    }
}

/// A generalisation for one leaf type, with all that can be computed before the first leaf.
pub(crate) struct GeneraliseFn {
    how: GeneraliseRule,
    /// Texts of the buckets, in order; empty for other rules.
    labels: Vec<String>,
    /// The step for integers.
    whole: i64,
    /// Units per second for times, units per one for decimals.
    units: i64,
    /// The leaf is a date, which counts days and not units of a second.
    date: bool,
    /// The step of a decimal, in units of its last digit.
    decimal: Option<i128>,
}

impl GeneraliseFn {
    /// Returns the function for a leaf type.
    ///
    /// # Errors
    /// As [`GeneraliseRule::output`].
    pub(crate) fn new(how: GeneraliseRule, input: &LeafType) -> Result<Self, String> {
        let units = how.scale(input)?;
        let labels = match &how {
            GeneraliseRule::Buckets(bounds) => labels(bounds),
            _ => Vec::new(),
        };
        let step = if let GeneraliseRule::Step(step) = how { step } else { 1.0 };
        let decimal = match input.logical {
            Some(LogicalType::Decimal { scale, .. }) => decimal::units(step, scale),
            _ => None,
        };
        let date = input.logical == Some(LogicalType::Date);
        Ok(Self { how, labels, whole: step as i64, units, date, decimal })
    }

    /// Rounds an integer, a date or a time. `None` if the result does not fit.
    fn long(&self, number: i64) -> Option<i64> {
        match &self.how {
            GeneraliseRule::Date(step) if self.date => step.floor_day(number),
            GeneraliseRule::Date(step) => step.floor_instant(number, self.units),
            _ => floor_multiple(number, self.whole),
        }
    }

    /// Rounds a float. The error is the expectation, for the dead letter.
    fn double(&self, number: f64) -> Result<f64, Cow<'static, str>> {
        match self.how {
            // Infinity and NaN have no multiple below them.
            _ if !number.is_finite() => Err("a finite number".into()),
            GeneraliseRule::Step(step) => Ok(floor_fraction(number, step)),
            GeneraliseRule::Grid(degrees) if number.abs() <= 180.0 => Ok(floor_fraction(number, degrees)),
            GeneraliseRule::Grid(_) => Err("a coordinate between -180 and 180 degrees".into()),
            _ => Err("a number".into()),
        }
    }

    /// Returns the text of the bucket that holds a number. The error is the expectation, for the dead letter.
    fn label(&self, bounds: &[f64], number: f64) -> Result<&str, Cow<'static, str>> {
        if number.is_nan() {
            return Err("a number".into());
        }
        // The number of bounds at or below the number is the index of its bucket: a bucket includes its lower
        // bound.
        let bucket = bounds.partition_point(|bound| *bound <= number);
        self.labels.get(bucket).map(String::as_str).ok_or_else(|| "a number in a bucket".into())
    }
}

impl LeafFn for GeneraliseFn {
    fn output(&self, input: &LeafType) -> Result<Value, String> {
        self.how.output(input)
    }

    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        const RANGE: Cow<'static, str> = Cow::Borrowed("a value whose rounded form is in range");
        match (&self.how, leaf) {
            // Buckets: any number becomes a text.
            (GeneraliseRule::Buckets(bounds), LeafValue::Int(n)) => out.string(self.label(bounds, n.into())?),
            (GeneraliseRule::Buckets(bounds), LeafValue::Long(n)) => {
                out.string(self.label(bounds, n as f64)?)
            }
            (GeneraliseRule::Buckets(bounds), LeafValue::Float(n)) => {
                out.string(self.label(bounds, n.into())?)
            }
            (GeneraliseRule::Buckets(bounds), LeafValue::Double(n)) => out.string(self.label(bounds, n)?),

            // Postcodes.
            (GeneraliseRule::Outward, LeafValue::String(text)) => {
                out.string(OutwardCode::of(text).ok_or("a UK postcode")?.as_str());
            }

            // Dates, times and numbers, rounded in their own type.
            (_, LeafValue::Int(n)) => {
                let floor = self.long(n.into()).and_then(|n| i32::try_from(n).ok());
                out.int(floor.ok_or(RANGE)?);
            }
            (_, LeafValue::Long(n)) => out.long(self.long(n).ok_or(RANGE)?),
            (_, LeafValue::Float(n)) => out.float(self.double(n.into())? as f32),
            (_, LeafValue::Double(n)) => out.double(self.double(n)?),

            // Decimals.
            (GeneraliseRule::Step(_), LeafValue::Bytes(bytes)) => {
                let floor = self.decimal.and_then(|step| decimal::floor(bytes, step));
                let (encoded, from) = decimal::bytes(floor.ok_or(RANGE)?);
                out.bytes(&encoded[from..]);
            }

            // `scale` has refused all other types.
            _ => return Err("a leaf of the type that the rule was made for".into()),
        }
        Ok(())
    }

    fn name(&self) -> &str {
        "generalise"
    }
}

/// Returns the texts of the buckets between ascending bounds: `<10`, `10..20`, `>=20`.
fn labels(bounds: &[f64]) -> Vec<String> {
    let between = bounds.windows(2).map(|pair| format!("{}..{}", pair[0], pair[1]));
    let first = bounds.first().map(|bound| format!("<{bound}"));
    let last = bounds.last().map(|bound| format!(">={bound}"));
    first.into_iter().chain(between).chain(last).collect()
}
