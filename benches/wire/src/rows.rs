//! The meter reading as serde_avro_fast decodes it: a struct that borrows its texts.

use std::collections::HashMap;

use serde::Deserialize;

#[derive(Deserialize)]
#[allow(dead_code)]
pub struct MeterReading<'a> {
    event_id: &'a str,
    mpan: &'a str,
    account_id: &'a str,
    customer_name: &'a str,
    email: &'a str,
    phone: &'a str,
    postcode: Option<&'a str>,
    read_at: i64,
    register: &'a str,
    #[serde(with = "serde_bytes")]
    kwh: &'a [u8],
    quality: MeterReadingQuality,
    #[serde(borrow)]
    tags: HashMap<&'a str, &'a str>,
    registers: Vec<RegisterValue<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MeterReadingQuality {
    Actual,
    Estimated,
    Smart,
}

#[derive(Deserialize)]
#[allow(dead_code)]
pub struct RegisterValue<'a> {
    id: &'a str,
    value: f64,
}
