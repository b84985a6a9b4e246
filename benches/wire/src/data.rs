//! Records as they come: seeded, no two alike.

use apache_avro::types::Value;

pub struct WireBenchCase {
    pub name: &'static str,
    pub schema: &'static str,
    pub data: Vec<Vec<u8>>,
    pub dropped: &'static [&'static str],
    pub redacted: &'static [&'static str],
    pub projected: &'static [&'static str],
}

pub fn cases() -> Vec<WireBenchCase> {
    vec![meter(), flight(), nested()]
}

/// SplitMix64: enough for bench data, the same on every machine.
struct BenchRandom(u64);

impl BenchRandom {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            a & 0xffff,
            b & 0xfff,
            (b >> 12) & 0xfff,
            b >> 16
        )
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

fn encode(schema: &str, values: impl Iterator<Item = Value>) -> Vec<Vec<u8>> {
    let schema = apache_avro::Schema::parse_str(schema).expect("schema");
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build().expect("writer");
    values.map(|value| writer.write_value_to_vec(value).expect("datum")).collect()
}

fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

const FIRST: [&str; 8] = ["Ada", "Grace", "Edsger", "Barbara", "Donald", "Annie", "Ken", "Frances"];
const LAST: [&str; 8] = ["Lovelace", "Hopper", "Dijkstra", "Liskov", "Knuth", "Easley", "Thompson", "Allen"];

fn meter() -> WireBenchCase {
    let schema = include_str!("../schema/MeterReading.avsc");
    let mut seed = BenchRandom(1);
    let values = (0..50_000).map(|n| {
        let (first, last) = (seed.one(&FIRST), seed.one(&LAST));
        let email =
            format!("{}.{}{}@example.org", first.to_lowercase(), last.to_lowercase(), seed.below(1000));
        let postcode = match seed.below(10) {
            0 => Value::Union(0, Box::new(Value::Null)),
            _ => Value::Union(1, Box::new(text(format!("SW{} {}AB", seed.below(20), seed.below(10))))),
        };
        let tags = (0..2 + seed.below(2))
            .map(|tag| (format!("tag{tag}"), text(seed.one(&["gas", "power", "smart", "prepay"]))));
        let tags = tags.collect();
        let registers = (0..2 + seed.below(2)).map(|id| {
            record(vec![
                ("id", text(format!("R{id}"))),
                ("value", Value::Double(seed.below(1_000_000) as f64 / 1000.0)),
            ])
        });
        let registers = registers.collect();
        let quality = seed.below(3) as u32;
        record(vec![
            ("event_id", Value::Uuid(seed.uuid().parse().expect("uuid"))),
            ("mpan", text(seed.digits(13))),
            ("account_id", Value::Uuid(seed.uuid().parse().expect("uuid"))),
            ("customer_name", text(format!("{first} {last}"))),
            ("email", text(email)),
            ("phone", text(format!("+44{}", seed.digits(10)))),
            ("postcode", postcode),
            ("read_at", Value::TimestampMicros(1_700_000_000_000_000 + n * 1_000_003)),
            ("register", text(seed.one(&["DAY", "NIGHT", "TOTAL"]))),
            (
                "kwh",
                Value::Decimal(apache_avro::Decimal::from((seed.below(10_000_000) as i64).to_be_bytes())),
            ),
            ("quality", Value::Enum(quality, ["ACTUAL", "ESTIMATED", "SMART"][quality as usize].to_owned())),
            ("tags", Value::Map(tags)),
            ("registers", Value::Array(registers)),
        ])
    });
    let data = encode(schema, values);
    WireBenchCase {
        name: "meter",
        schema,
        data,
        dropped: &["phone"],
        redacted: &["customer_name", "email", "postcode"],
        projected: &["mpan", "postcode", "read_at", "kwh"],
    }
}

const FLIGHT: &str = r#"{"type":"record","name":"Flight","namespace":"aviation","fields":[
 {"name":"year","type":"int"},{"name":"month","type":"int"},{"name":"day","type":"int"},
 {"name":"dep_time","type":["null","int"],"default":null},{"name":"sched_dep_time","type":"int"},
 {"name":"dep_delay","type":["null","int"],"default":null},{"name":"arr_time","type":["null","int"],"default":null},
 {"name":"sched_arr_time","type":"int"},{"name":"arr_delay","type":["null","int"],"default":null},
 {"name":"carrier","type":"string"},{"name":"flight","type":"int"},{"name":"tailnum","type":"string"},
 {"name":"origin","type":"string"},{"name":"dest","type":"string"},
 {"name":"air_time","type":["null","int"],"default":null},{"name":"distance","type":"int"},
 {"name":"hour","type":"int"},{"name":"minute","type":"int"},
 {"name":"time_hour","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

fn flight() -> WireBenchCase {
    let mut seed = BenchRandom(2);
    let values = (0..100_000).map(|_| {
        let flown = seed.below(40) > 0;
        let mut optional = |limit: u64, low: i32| match flown {
            true => Value::Union(1, Box::new(Value::Int(seed.below(limit) as i32 + low))),
            false => Value::Union(0, Box::new(Value::Null)),
        };
        let (dep_time, dep_delay, arr_time, arr_delay, air_time) =
            (optional(2400, 0), optional(300, -40), optional(2400, 0), optional(300, -80), optional(600, 20));
        let mut int = |limit: u64, low: i32| Value::Int(seed.below(limit) as i32 + low);
        let mut fields = vec![
            ("year", Value::Int(2013)),
            ("month", int(12, 1)),
            ("day", int(28, 1)),
            ("dep_time", dep_time),
        ];
        fields.extend([("sched_dep_time", int(2400, 0)), ("dep_delay", dep_delay), ("arr_time", arr_time)]);
        fields.extend([("sched_arr_time", int(2400, 0)), ("arr_delay", arr_delay)]);
        let (flight, distance, hour, minute) = (int(8000, 1), int(4900, 80), int(24, 0), int(60, 0));
        fields.extend([
            ("carrier", text(seed.one(&["UA", "AA", "B6", "DL"]))),
            ("flight", flight),
            ("tailnum", text(format!("N{}UA", seed.digits(3)))),
            ("origin", text(seed.one(&["EWR", "JFK", "LGA"]))),
            ("dest", text(seed.one(&["IAH", "MIA", "BQN", "ATL"]))),
            ("air_time", air_time),
            ("distance", distance),
            ("hour", hour),
            ("minute", minute),
            (
                "time_hour",
                Value::TimestampMicros(1_357_034_400_000_000 + seed.below(8760) as i64 * 3_600_000_000),
            ),
        ]);
        record(fields)
    });
    let data = encode(FLIGHT, values);
    WireBenchCase {
        name: "flight",
        schema: FLIGHT,
        data,
        dropped: &["hour", "minute"],
        redacted: &["tailnum"],
        projected: &["dep_time", "dep_delay", "arr_time", "tailnum", "air_time", "time_hour"],
    }
}

const NESTED: &str = r#"{"type":"record","name":"Order","namespace":"bench","fields":[
 {"name":"id","type":"long"},
 {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
   {"name":"sku","type":"string"},{"name":"quantity","type":"int"},
   {"name":"attributes","type":{"type":"map","values":{"type":"array","items":{"type":"record","name":"Attribute","fields":[
     {"name":"text","type":["null","string"]},{"name":"weight","type":"double"}]}}}}]}}}]}"#;

fn nested() -> WireBenchCase {
    let mut seed = BenchRandom(3);
    let values = (0..20_000).map(|id| {
        let lines = (0..1 + seed.below(6)).map(|_| {
            let attributes = (0..seed.below(4)).map(|key| {
                let items = (0..seed.below(3)).map(|_| {
                    let said = match seed.below(3) {
                        0 => Value::Union(0, Box::new(Value::Null)),
                        _ => Value::Union(1, Box::new(text(seed.one(&LAST)))),
                    };
                    record(vec![("text", said), ("weight", Value::Double(seed.below(1000) as f64))])
                });
                (format!("attribute{key}"), Value::Array(items.collect()))
            });
            let attributes = attributes.collect();
            record(vec![
                ("sku", text(seed.digits(10))),
                ("quantity", Value::Int(seed.below(100) as i32)),
                ("attributes", Value::Map(attributes)),
            ])
        });
        let lines = lines.collect();
        record(vec![("id", Value::Long(id)), ("lines", Value::Array(lines))])
    });
    let data = encode(NESTED, values);
    WireBenchCase {
        name: "nested",
        schema: NESTED,
        data,
        dropped: &["lines[].quantity"],
        redacted: &["lines[].attributes{}[].text"],
        projected: &["id"],
    }
}
