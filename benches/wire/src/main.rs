//! Throughput of the wire programs on one core, beside their peers, in one run: one JSON line per figure.
//!
//! `BENCH_MS` is the time spent on each figure (default 700); `BENCH_CASE` names the only case to run.

mod data;
mod rows;
mod tasks;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use sluice_wire::columns::ColumnBatchBuilder;
use sluice_wire::{
    DatumPatch, DatumSchema, DatumValidator, LeafProjection, LineageFrame, ProtobufTranscoder, RecordLineage,
};
use tasks::{BenchPseudonym, BenchRedaction, MixedBenchPolicy, descriptor};

/// Seconds per pass over the data, the best of many: what the machine can do, not what else it did.
fn best(mut pass: impl FnMut()) -> f64 {
    let budget = std::env::var("BENCH_MS").ok().and_then(|ms| ms.parse().ok()).unwrap_or(700);
    let budget = Duration::from_millis(budget);
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

fn report(name: &str, case: &str, value: f64, unit: &str, peer: &str, peer_value: f64) {
    let name = format!("{name}.{case}");
    let line = serde_json::json!({"name": name, "value": value, "unit": unit, "peer": peer, "peer_value": peer_value});
    println!("{line}");
}

fn main() {
    let only = std::env::var("BENCH_CASE").ok();
    for case in data::cases().iter().filter(|case| only.as_ref().is_none_or(|only| only == case.name)) {
        run(case);
    }
}

fn run(case: &data::WireBenchCase) {
    let bytes: usize = case.data.iter().map(Vec::len).sum();
    let records = case.data.len() as f64;
    let gb = bytes as f64 / 1e9;
    eprintln!("{}: {records} records of {:.0} bytes", case.name, bytes as f64 / records);
    let schema = DatumSchema::parse(case.schema).expect("schema");
    let mut out: Vec<u8> = Vec::with_capacity(2 * bytes + 200 * case.data.len());

    let memcpy = best(|| {
        out.clear();
        case.data.iter().for_each(|datum| out.extend_from_slice(black_box(datum)));
        black_box(&out);
    });
    let validate = DatumValidator::compile(&schema).expect("validate");
    let validated =
        best(|| case.data.iter().for_each(|datum| validate.run(black_box(datum)).expect("valid")));
    // The slow peers get a tenth of the data, scaled.
    let sample = &case.data[..case.data.len() / 10];
    let reader =
        apache_avro::reader::datum::GenericDatumReader::builder(schema.avro()).build().expect("reader");
    let apache = 10.0
        * best(|| {
            for datum in sample {
                black_box(reader.read_value(&mut &datum[..]).expect("value"));
            }
        });
    report("validate", case.name, gb / validated, "GB/s", "memcpy", gb / memcpy);
    report("validate", case.name, gb / validated, "GB/s", "apache-avro values", gb / apache);
    report("validate", case.name, records / validated, "records/s", "apache-avro values", records / apache);
    if case.name == "meter" {
        // Without the decimal, which it would write out as text: the peer gets its best case, all borrowed.
        let plain =
            case.schema.replace(r#""logicalType":"decimal","precision":12,"scale":3"#, r#""plain":true"#);
        let fast: serde_avro_fast::Schema = plain.parse().expect("schema");
        let decoded = 10.0
            * best(|| {
                for datum in sample {
                    let row: rows::MeterReading<'_> =
                        serde_avro_fast::from_datum_slice(datum, &fast).expect("row");
                    black_box(row);
                }
            });
        report("validate", case.name, gb / validated, "GB/s", "serde_avro_fast structs", gb / decoded);
    }

    let mixed =
        MixedBenchPolicy { dropped: case.dropped, replaced: case.redacted, by: Arc::new(BenchRedaction) };
    let patch = DatumPatch::compile(&schema, &mixed).expect("patch");
    let patched = best(|| {
        out.clear();
        case.data.iter().for_each(|datum| patch.run(black_box(datum), &mut out).expect("patched"));
        black_box(&out);
    });
    report("patch", case.name, gb / patched, "GB/s", "memcpy", gb / memcpy);
    report("patch", case.name, records / patched, "records/s", "apache-avro values", records / apache);
    if case.name == "meter" {
        let three = ["mpan", "account_id", "email"];
        let policy = MixedBenchPolicy { dropped: &[], replaced: &three, by: Arc::new(BenchPseudonym::new()) };
        let patch = DatumPatch::compile(&schema, &policy).expect("patch");
        let patched = best(|| {
            out.clear();
            case.data.iter().for_each(|datum| patch.run(black_box(datum), &mut out).expect("patched"));
            black_box(&out);
        });
        report("patch-three-hmac", case.name, patched / records * 1e9, "ns/record", "target", 1000.0);
    }

    let project = LeafProjection::compile(&schema, case.projected).expect("project");
    let projected = best(|| {
        for datum in &case.data {
            project.run(black_box(datum), |place, leaf| _ = black_box((place, leaf))).expect("projected");
        }
    });
    report("project", case.name, gb / projected, "GB/s", "apache-avro values", gb / apache);

    let frame = LineageFrame::compile(&schema, true, &[]).expect("frame");
    let lineage = RecordLineage {
        topic: "bench.topic",
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
    report("frame", case.name, framed / (validated + memcpy), "x validate+memcpy", "target", 1.3);

    let json: serde_json::Value = serde_json::from_str(case.schema).expect("json");
    if let Ok(transcode) = ProtobufTranscoder::compile(&schema, &descriptor("R", &json)) {
        let transcoded = best(|| {
            out.clear();
            case.data.iter().for_each(|datum| transcode.run(black_box(datum), &mut out).expect("transcoded"));
            black_box(&out);
        });
        report("transcode", case.name, gb / transcoded, "GB/s", "apache-avro values", gb / apache);
    }

    let mut columns = ColumnBatchBuilder::compile(&schema, None).expect("columns");
    let batched = best(|| {
        case.data.iter().for_each(|datum| columns.append(black_box(datum)).expect("appended"));
        black_box(columns.flush().expect("batch"));
    });
    let id = Fingerprint::Id(1);
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store.set(id, AvroSchema::new(case.schema.to_owned())).expect("stored");
    let builder = ReaderBuilder::new().with_writer_schema_store(store).with_active_fingerprint(id);
    let mut decoder = builder.with_batch_size(case.data.len()).build_decoder().expect("decoder");
    let prefixed: Vec<Vec<u8>> =
        case.data.iter().map(|datum| [&[0, 0, 0, 0, 1], &datum[..]].concat()).collect();
    let decoded = best(|| {
        prefixed.iter().for_each(|value| _ = black_box(decoder.decode(value).expect("decoded")));
        black_box(decoder.flush().expect("batch"));
    });
    report("columns", case.name, gb / batched, "GB/s", "arrow-avro decode", gb / decoded);
}
