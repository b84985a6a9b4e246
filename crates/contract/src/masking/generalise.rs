//! Generalisation: the leaf becomes coarser, in a way that many leaves share.

use std::borrow::Cow;

use serde_json::{Value, json};
use sluice_wire::{LeafFn, LeafKind, LeafType, LeafValue, LeafWriter, LogicalType};

use super::decimal;
use super::postcode::OutwardCode;
use super::step::{DateStep, floor_fraction, floor_multiple};
use super::types;

/// How a leaf is made coarser.
#[derive(Debug, Clone, PartialEq)]
pub enum GeneraliseRule {
    /// Dates, times and timestamps: down to a step.
    Date(DateStep),
    /// Numbers: down to a multiple of a positive step.
    Step(f64),
    /// Numbers: the bucket between ascending bounds, as text (`<10`, `10..20`, `>=20`).
    Buckets(Vec<f64>),
    /// UK postcodes: the outward part.
    Outward,
    /// A coordinate in degrees: down to a grid of so many degrees.
    Grid(f64),
}

impl GeneraliseRule {
    pub(crate) fn output(&self, input: &LeafType) -> Result<Value, String> {
        self.scale(input).map(|_| match self {
            Self::Buckets(_) | Self::Outward => json!("string"),
            Self::Date(_) | Self::Step(_) | Self::Grid(_) => types::same(input),
        })
    }

    /// Units of a second for times, units of one for decimals, 1 for the rest; or why it cannot be applied.
    fn scale(&self, input: &LeafType) -> Result<i64, String> {
        match (self, input.kind, input.logical) {
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
            (Self::Step(step), LeafKind::Int | LeafKind::Long, None) if step.fract() == 0.0 => Ok(1),
            (Self::Step(_), LeafKind::Int | LeafKind::Long, None) => {
                Err("a whole number needs a step that is one".to_owned())
            }
            (Self::Step(step), LeafKind::Bytes, Some(LogicalType::Decimal { scale, .. })) => {
                decimal::units(*step, scale)
                    .ok_or_else(|| "the step is finer than the decimal's scale".to_owned())?;
                Ok(10_i64.pow(scale))
            }
            (Self::Step(_) | Self::Buckets(_) | Self::Grid(_), LeafKind::Float | LeafKind::Double, None) => {
                Ok(1)
            }
            (Self::Buckets(_), LeafKind::Int | LeafKind::Long, None) => Ok(1),
            (Self::Outward, LeafKind::String, None) => Ok(1),
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

/// A generalisation for one leaf type.
pub(crate) struct GeneraliseFn {
    how: GeneraliseRule,
    labels: Vec<String>,
    /// A whole step, for integers.
    whole: i64,
    /// Units per second or per one, and how many a decimal's step has.
    units: i64,
    date: bool,
    /// A decimal's step in its own units.
    decimal: Option<i128>,
}

impl GeneraliseFn {
    /// For a leaf that `GeneraliseRule::output` has agreed to.
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

    fn long(&self, number: i64) -> Option<i64> {
        match &self.how {
            GeneraliseRule::Date(step) if self.date => step.floor_day(number),
            GeneraliseRule::Date(step) => step.floor_instant(number, self.units),
            _ => floor_multiple(number, self.whole),
        }
    }

    fn double(&self, number: f64) -> Result<f64, Cow<'static, str>> {
        match self.how {
            _ if !number.is_finite() => Err("a finite number".into()),
            GeneraliseRule::Step(step) => Ok(floor_fraction(number, step)),
            GeneraliseRule::Grid(degrees) if number.abs() <= 180.0 => Ok(floor_fraction(number, degrees)),
            GeneraliseRule::Grid(_) => Err("a coordinate between -180 and 180 degrees".into()),
            _ => Err("a number".into()),
        }
    }

    fn label(&self, bounds: &[f64], number: f64) -> Result<&str, Cow<'static, str>> {
        if number.is_nan() {
            return Err("a number".into());
        }
        let bucket = bounds.partition_point(|bound| *bound <= number);
        self.labels.get(bucket).map(String::as_str).ok_or_else(|| "a number in a bucket".into())
    }
}

impl LeafFn for GeneraliseFn {
    fn output(&self, input: &LeafType) -> Result<Value, String> {
        self.how.output(input)
    }

    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        const RANGE: Cow<'static, str> = Cow::Borrowed("a value whose step is in range");
        match (&self.how, leaf) {
            (GeneraliseRule::Buckets(bounds), LeafValue::Int(n)) => out.string(self.label(bounds, n.into())?),
            (GeneraliseRule::Buckets(bounds), LeafValue::Long(n)) => {
                out.string(self.label(bounds, n as f64)?)
            }
            (GeneraliseRule::Buckets(bounds), LeafValue::Float(n)) => {
                out.string(self.label(bounds, n.into())?)
            }
            (GeneraliseRule::Buckets(bounds), LeafValue::Double(n)) => out.string(self.label(bounds, n)?),
            (GeneraliseRule::Outward, LeafValue::String(text)) => {
                out.string(OutwardCode::of(text).ok_or("a UK postcode")?.as_str());
            }
            (_, LeafValue::Int(n)) => {
                let floor = self.long(n.into()).and_then(|n| i32::try_from(n).ok());
                out.int(floor.ok_or(RANGE)?);
            }
            (_, LeafValue::Long(n)) => out.long(self.long(n).ok_or(RANGE)?),
            (_, LeafValue::Float(n)) => out.float(self.double(n.into())? as f32),
            (_, LeafValue::Double(n)) => out.double(self.double(n)?),
            (GeneraliseRule::Step(_), LeafValue::Bytes(bytes)) => {
                let floor = self.decimal.and_then(|step| decimal::floor(bytes, step));
                let (encoded, from) = decimal::bytes(floor.ok_or(RANGE)?);
                out.bytes(&encoded[from..]);
            }
            _ => return Err("a leaf that can be generalised so".into()),
        }
        Ok(())
    }

    fn name(&self) -> &str {
        "generalise"
    }
}

fn labels(bounds: &[f64]) -> Vec<String> {
    let between = bounds.windows(2).map(|pair| format!("{}..{}", pair[0], pair[1]));
    let first = bounds.first().map(|bound| format!("<{bound}"));
    let last = bounds.last().map(|bound| format!(">={bound}"));
    first.into_iter().chain(between).chain(last).collect()
}
