//! Throughput of the wire programs on one core, beside their peers, in one run: one JSON line per figure.

mod data;

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_wire::{
    Action, Frame, Leaf, LeafFn, LeafInfo, LeafType, LeafWriter, Lineage, Patch, Policy, Schema, Validate,
};

/// Seconds per pass over the data, the best of many: what the machine can do, not what else it did.
fn best(mut pass: impl FnMut()) -> f64 {
    let budget =
        Duration::from_millis(std::env::var("BENCH_MS").ok().and_then(|ms| ms.parse().ok()).unwrap_or(700));
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    let mut passes = 0;
    while passes < 3 || begin.elapsed() < budget {
        let start = Instant::now();
        pass();
        best = best.min(start.elapsed().as_secs_f64());
        passes += 1;
    }
    best
}

fn report(name: &str, value: f64, unit: &str, peer: &str, peer_value: f64) {
    println!(
        "{}",
        serde_json::json!({"name": name, "value": value, "unit": unit, "peer": peer, "peer_value": peer_value})
    );
}

struct Redact;

impl LeafFn for Redact {
    fn output(&self, _input: &LeafType) -> Result<serde_json::Value, String> {
        Ok("string".into())
    }

    fn apply(&self, _leaf: Leaf<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        out.string("redacted");
        Ok(())
    }

    fn name(&self) -> &str {
        "redact"
    }
}

struct Mixed(&'static [&'static str], &'static [&'static str]);

impl Policy for Mixed {
    fn action(&self, leaf: &LeafInfo) -> Option<Action> {
        Some(if self.0.contains(&leaf.path.as_str()) {
            Action::Drop
        } else if self.1.contains(&leaf.path.as_str()) {
            Action::Replace(Arc::new(Redact))
        } else {
            Action::Keep
        })
    }
}

fn main() {
    for case in data::cases() {
        let bytes: usize = case.data.iter().map(Vec::len).sum();
        let records = case.data.len() as f64;
        let gb = bytes as f64 / 1e9;
        eprintln!("{}: {} records of {:.0} bytes", case.name, records, bytes as f64 / records);
        let schema = Schema::parse(case.schema).expect("schema");
        let mut out: Vec<u8> = Vec::with_capacity(2 * bytes + 200 * case.data.len());
        let memcpy = best(|| {
            out.clear();
            case.data.iter().for_each(|datum| out.extend_from_slice(black_box(datum)));
            black_box(&out);
        });
        let validate = Validate::compile(&schema).expect("validate");
        let validated =
            best(|| case.data.iter().for_each(|datum| validate.run(black_box(datum)).expect("valid")));
        let sample = &case.data[..case.data.len() / 10];
        let apache = 10.0
            * best(|| {
                for datum in sample {
                    black_box(
                        apache_avro::from_avro_datum(schema.avro(), &mut &datum[..], None).expect("value"),
                    );
                }
            });
        report(&format!("validate.{}", case.name), gb / validated, "GB/s", "apache-avro values", gb / apache);
        report(&format!("validate.{}", case.name), gb / validated, "GB/s", "memcpy", gb / memcpy);
        report(
            &format!("validate.{}", case.name),
            records / validated,
            "records/s",
            "apache-avro values",
            records / apache,
        );
        let patch = Patch::compile(&schema, &Mixed(case.dropped, case.redacted)).expect("patch");
        let patched = best(|| {
            out.clear();
            case.data.iter().for_each(|datum| patch.run(black_box(datum), &mut out).expect("patched"));
            black_box(&out);
        });
        report(&format!("patch.{}", case.name), gb / patched, "GB/s", "memcpy", gb / memcpy);
        let frame = Frame::compile(&schema, true, &[]).expect("frame");
        let lineage = Lineage {
            topic: "bench",
            partition: 3,
            offset: 1_000_000,
            timestamp_ms: Some(1_700_000_000_000),
            schema_id: 7,
        };
        let framed = best(|| {
            out.clear();
            case.data
                .iter()
                .for_each(|datum| frame.append(black_box(datum), &lineage, &mut out).expect("framed"));
            black_box(&out);
        });
        report(&format!("frame.{}", case.name), framed / (validated + memcpy), "x validate+memcpy", "", 1.3);
    }
}
