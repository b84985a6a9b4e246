//! Random nested schemas through the gate: for random contracts with random labels on containers, no leaf below a
//! label reaches a masked topic, facts, a table or a view unmasked. A reference model decides: it knows the tree that
//! it has made, and nothing of paths, tags or schemas.
//!
//! `SEED` begins elsewhere, `CONTRACTS` asks for more (`make fuzz-gate`).

use serde_json::{Map, Value, json};
use sluice_contract::{ContractSet, KeyRing, MaskOperation};
use sluice_govern::{LeakProof, SqlViewSet};
use sluice_wire::{DatumPatch, JsonConverter};

/// Contracts of one run.
const CONTRACTS: u64 = 10_000;
/// Letters of a planted text.
const CANARY: usize = 16;

/// A generator of numbers (xorshift64*), so that a seed is all that a failure needs.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % most
    }

    /// True once in `times` throws.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn canary(&mut self) -> String {
        (0..CANARY).map(|_| char::from(b'a' + u8::try_from(self.below(26)).unwrap())).collect()
    }
}

/// What the model thinks of a leaf's mask.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// Fine for every leaf.
    Hides,
    /// Fine for a leaf without a label.
    Weak,
    /// Fine for no leaf.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Int,
    Long,
    Double,
    Date,
    Instant,
}

#[derive(Debug)]
enum Shape {
    Leaf(Kind, Value, Verdict),
    Record(Vec<Node>),
    Array(Box<Node>),
    /// Mask and verdict of the keys, then the values.
    Map(Value, Verdict, Box<Node>),
    /// Text or long.
    Union(Box<Node>, Box<Node>),
}

/// A field, item, value or branch, with its own labels.
#[derive(Debug)]
struct Node {
    name: String,
    shape: Shape,
    nullable: bool,
    tag_on_field: bool,
    tag_on_type: bool,
    tag_in_contract: bool,
    class: Option<&'static str>,
}

/// Where a node is: some masks do not fit everywhere.
#[derive(Clone, Copy, PartialEq)]
enum Seat {
    Field,
    Inside,
    Branch,
}

fn leaf(dice: &mut Dice, kind: Kind, seat: Seat) -> Shape {
    use Verdict::{Hides, Nothing, Weak};
    let hmac = json!({"op": "hmac", "key": "pseudonym", "domain": "d"});
    let generalise = |key: &str, step: Value| json!({"op": "generalise", key: step});
    let mut masks = match kind {
        Kind::Text => vec![
            (json!({"op": "redact"}), Hides),
            (json!({"op": "partial", "keepLast": 2, "length": 8}), Hides),
            (json!({"op": "partial", "keepFirst": 5, "length": 64}), Weak),
            (hmac, Hides),
        ],
        Kind::Int | Kind::Long => vec![
            (generalise("number", json!(50)), Hides),
            (generalise("number", json!(2)), Weak),
            (generalise("number", json!(1)), Nothing),
        ],
        Kind::Double => vec![
            (generalise("number", json!(10)), Hides),
            (generalise("number", json!(0.25)), Weak),
            (generalise("number", json!(1e-9)), Nothing),
        ],
        Kind::Date => vec![
            (generalise("date", json!("1y")), Hides),
            (generalise("date", json!("1w")), Weak),
            (generalise("date", json!("1d")), Nothing),
        ],
        Kind::Instant => {
            vec![(generalise("date", json!("1h")), Hides), (generalise("date", json!("1s")), Weak)]
        }
    };
    // A branch goes only with its union, and the items of a map only with its keys.
    if seat == Seat::Field {
        masks.push((json!({"op": "drop"}), Hides));
        masks.push((json!({"op": "null"}), Hides));
    }
    let (mask, verdict) = match dice.once_in(3) {
        true => (json!({"op": "keep"}), Weak),
        false => masks[usize::try_from(dice.below(masks.len() as u64)).unwrap()].clone(),
    };
    Shape::Leaf(kind, mask, verdict)
}

fn node(dice: &mut Dice, name: String, depth: u32, seat: Seat) -> Node {
    let kinds = [Kind::Text, Kind::Text, Kind::Int, Kind::Long, Kind::Double, Kind::Date, Kind::Instant];
    let inside = |dice: &mut Dice, name: &str| Box::new(node(dice, name.to_owned(), depth - 1, Seat::Inside));
    let shape = match if depth == 0 { 9 } else { dice.below(10) } {
        0 | 1 => {
            let count = 1 + dice.below(3);
            Shape::Record(
                (0..count)
                    // One field stays: a map's values cannot go without its keys.
                    .map(|at| {
                        let seat = if at == 0 { Seat::Inside } else { Seat::Field };
                        node(dice, format!("f{at}"), depth - 1, seat)
                    })
                    .collect(),
            )
        }
        2 | 3 => Shape::Array(inside(dice, "item")),
        4 => {
            let (mask, verdict) = match dice.once_in(2) {
                true => (json!({"op": "keep"}), Verdict::Weak),
                false => (json!({"op": "hmac", "key": "pseudonym", "domain": "d"}), Verdict::Hides),
            };
            Shape::Map(mask, verdict, inside(dice, "value"))
        }
        5 => {
            let mut branch = |name: &str, kind: Kind| {
                let shape = leaf(dice, kind, Seat::Branch);
                Box::new(labelled(dice, name.to_owned(), shape, false))
            };
            Shape::Union(branch("string", Kind::Text), branch("long", Kind::Long))
        }
        _ => {
            let kind = dice.pick(&kinds);
            leaf(dice, kind, seat)
        }
    };
    let nullable = seat == Seat::Field && dice.once_in(4);
    labelled(dice, name, shape, nullable)
}

fn labelled(dice: &mut Dice, name: String, shape: Shape, nullable: bool) -> Node {
    let class = match dice.below(12) {
        0 => Some(dice.pick(&["restricted", "Restricted", "RESTRICTED"])),
        1 => Some("confidential"),
        2 => Some("Public"),
        _ => None,
    };
    let mut tag = |times| dice.once_in(times);
    let (tag_on_field, tag_on_type, tag_in_contract) = (tag(14), tag(18), tag(18));
    Node { name, shape, nullable, tag_on_field, tag_on_type, tag_in_contract, class }
}

impl Node {
    /// True if the node itself has a label that closes it.
    fn closes(&self, is_field: bool) -> bool {
        // A tag on a field exists only where there is a field, and a union's own type is a list without attributes.
        let on_type = self.tag_on_type && !matches!(self.shape, Shape::Union(..));
        (self.tag_on_field && is_field)
            || on_type
            || self.tag_in_contract
            || self.class.is_some_and(|class| class.eq_ignore_ascii_case("restricted"))
    }

    /// The type, with the tag on it.
    fn avro(&self, at: &str) -> Value {
        let tagged = |mut kind: Value| {
            if self.tag_on_type {
                kind["confluent:tags"] = json!(["PII"]);
            }
            kind
        };
        let kind = match &self.shape {
            Shape::Leaf(kind, _, _) => tagged(match kind {
                Kind::Text => json!({"type": "string"}),
                Kind::Int => json!({"type": "int"}),
                Kind::Long => json!({"type": "long"}),
                Kind::Double => json!({"type": "double"}),
                Kind::Date => json!({"type": "int", "logicalType": "date"}),
                Kind::Instant => json!({"type": "long", "logicalType": "timestamp-millis"}),
            }),
            Shape::Record(fields) => {
                let fields: Vec<Value> = fields.iter().map(|field| field.field(at)).collect();
                tagged(json!({"type": "record", "name": format!("R{at}"), "fields": fields}))
            }
            Shape::Array(item) => tagged(json!({"type": "array", "items": item.avro(&format!("{at}i"))})),
            Shape::Map(_, _, value) => {
                tagged(json!({"type": "map", "values": value.avro(&format!("{at}v"))}))
            }
            Shape::Union(one, other) => {
                let branches = [one.avro(&format!("{at}a")), other.avro(&format!("{at}b"))];
                let null = self.nullable.then(|| json!("null"));
                return Value::Array(null.into_iter().chain(branches).collect());
            }
        };
        if self.nullable { json!(["null", kind]) } else { kind }
    }

    /// The field of a record, with the tag on it.
    fn field(&self, at: &str) -> Value {
        let mut field = json!({"name": self.name, "type": self.avro(&format!("{at}_{}", self.name))});
        if self.tag_on_field {
            field["confluent:tags"] = json!(["PII"]);
        }
        field
    }

    /// The property of the contract. `has_class` is true if something above has a classification.
    fn property(&self, has_class: bool) -> Value {
        let class = self.class;
        let has_class = has_class || class.is_some();
        let mut property = match &self.shape {
            Shape::Leaf(kind, mask, _) => {
                let logical = match kind {
                    Kind::Text => "string",
                    Kind::Int | Kind::Long => "integer",
                    Kind::Double => "number",
                    Kind::Date => "date",
                    Kind::Instant => "timestamp",
                };
                json!({"logicalType": logical, "customProperties": [{"property": "masking", "value": mask}]})
            }
            Shape::Record(fields) => {
                let fields: Vec<Value> = fields.iter().map(|field| field.property(has_class)).collect();
                json!({"logicalType": "object", "properties": fields})
            }
            Shape::Array(item) => json!({"logicalType": "array", "items": item.property(has_class)}),
            Shape::Map(mask, _, value) => {
                let mut key = json!({"name": "key", "logicalType": "string", "customProperties": [{"property": "masking", "value": mask}]});
                if !has_class {
                    key["classification"] = json!("internal");
                }
                json!({"logicalType": "object", "physicalType": "map", "properties": [key, value.property(has_class)]})
            }
            Shape::Union(one, other) => {
                json!({"physicalType": "union", "properties": [one.property(has_class), other.property(has_class)]})
            }
        };
        property["name"] = json!(self.name);
        if !self.nullable {
            property["required"] = json!(true);
        }
        if let Some(class) = class {
            property["classification"] = json!(class);
        } else if matches!(self.shape, Shape::Leaf(..)) && !has_class {
            property["classification"] = json!("internal");
        }
        if self.tag_in_contract {
            property["tags"] = json!(["PII"]);
        }
        property
    }

    /// The model: true if the gate must refuse the node, or anything below it.
    fn leaks(&self, is_closed: bool, is_field: bool) -> bool {
        let is_closed = is_closed || self.closes(is_field);
        let bad = |verdict: Verdict| verdict == Verdict::Nothing || (is_closed && verdict == Verdict::Weak);
        match &self.shape {
            Shape::Leaf(_, _, verdict) => bad(*verdict),
            Shape::Record(fields) => fields.iter().any(|field| field.leaks(is_closed, true)),
            Shape::Array(item) => item.leaks(is_closed, false),
            Shape::Map(_, verdict, value) => bad(*verdict) || value.leaks(is_closed, false),
            Shape::Union(one, other) => one.leaks(is_closed, false) || other.leaks(is_closed, false),
        }
    }

    /// A value, with a planted text in every closed text.
    fn value(&self, dice: &mut Dice, is_closed: bool, is_field: bool, planted: &mut Vec<String>) -> Value {
        let is_closed = is_closed || self.closes(is_field);
        let mut text = |dice: &mut Dice| {
            let text = dice.canary();
            if is_closed {
                planted.push(text.clone());
            }
            text
        };
        match &self.shape {
            Shape::Leaf(Kind::Text, ..) => json!(text(dice)),
            Shape::Leaf(Kind::Int | Kind::Long, ..) => json!(dice.below(1000)),
            Shape::Leaf(Kind::Double, ..) => json!(0.5),
            Shape::Leaf(Kind::Date, ..) => json!("2001-02-03"),
            Shape::Leaf(Kind::Instant, ..) => json!("2001-02-03T04:05:06Z"),
            Shape::Record(fields) => {
                let value = |field: &Node| (field.name.clone(), field.value(dice, is_closed, true, planted));
                Value::Object(fields.iter().map(value).collect::<Map<_, _>>())
            }
            Shape::Array(item) => json!([item.value(dice, is_closed, false, planted)]),
            Shape::Map(_, _, value) => {
                let key = text(dice);
                json!({key: value.value(dice, is_closed, false, planted)})
            }
            Shape::Union(one, _) => one.value(dice, is_closed, false, planted),
        }
    }
}

/// Runs one contract through the gate. Returns true if it was accepted.
fn through_the_gate(seed: u64, fact: &str, keys: &KeyRing) -> bool {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let fields: Vec<Node> =
        (0..1 + dice.below(3)).map(|at| node(&mut dice, format!("f{at}"), 3, Seat::Field)).collect();
    let whole_is_tagged = dice.once_in(40);

    // The files.
    let id = json!({"name": "id", "type": "long"});
    let at = json!({"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}});
    let avro: Vec<Value> = [id, at].into_iter().chain(fields.iter().map(|field| field.field(""))).collect();
    let mut schema = json!({"type": "record", "name": "Whole", "fields": avro});
    if whole_is_tagged {
        schema["confluent:tags"] = json!(["PII"]);
    }
    let plain = |name: &str, logical: &str, mask: Value| {
        json!({"name": name, "required": true, "logicalType": logical, "classification": "internal",
               "customProperties": [{"property": "masking", "value": mask}]})
    };
    let hour = json!({"op": "generalise", "date": "1h"});
    let hmac = json!({"op": "hmac", "key": "pseudonym", "domain": "id"});
    let own = [plain("id", "integer", hmac), plain("at", "timestamp", hour)];
    let properties: Vec<Value> =
        own.into_iter().chain(fields.iter().map(|field| field.property(false))).collect();
    let is_attribute = |field: &&Node| match &field.shape {
        Shape::Leaf(_, mask, _) => !["drop", "null"].contains(&mask["op"].as_str().unwrap()),
        _ => false,
    };
    let attributes: Vec<&str> = fields.iter().filter(is_attribute).map(|field| field.name.as_str()).collect();
    let attributes = if attributes.is_empty() { vec!["id"] } else { attributes };
    let contract = json!({"apiVersion": "v3.1.0", "kind": "DataContract", "id": "r", "version": "1.0.0", "status": "active", "domain": "red",
        "slaProperties": [{"property": "retention", "value": 7, "unit": "d"}],
        "customProperties": [{"property": "maskedTopic", "value": "red.r.masked.v1"}, {"property": "recordKey", "value": "id"},
            {"property": "facts", "value": {"topic": "red.r.facts.v1", "entityType": "t", "entity": ["id"], "time": "at", "attributes": attributes}}],
        "schema": [{"name": "r", "physicalName": "red.r.v1", "physicalType": "topic", "logicalType": "object", "properties": properties}]});
    let views = [
        "SELECT * FROM red_r_masked_v1",
        "SELECT * FROM red_r_facts_v1",
        "SELECT a.*, b.value FROM red_r_masked_v1 a JOIN red_r_facts_v1 b ON b.entity = 'x'",
    ];
    let mut files = vec![
        ("red/r/value.avsc".to_owned(), schema.to_string()),
        ("red/r/contract.odcs.yaml".to_owned(), contract.to_string()),
        ("sluice/fact/value.avsc".to_owned(), fact.to_owned()),
    ];
    files.extend(
        views.iter().enumerate().map(|(at, sql)| (format!("red/views/v{at}.sql"), (*sql).to_owned())),
    );

    // The model and the gate agree.
    let must_refuse = fields.iter().any(|field| field.leaks(whole_is_tagged, true));
    let contracts = match ContractSet::parse(&files) {
        Ok(contracts) => contracts,
        Err(findings) => {
            assert!(must_refuse, "seed {seed}: refused without reason: {findings}\n{schema}\n{contract}");
            return false;
        }
    };
    assert!(!must_refuse, "seed {seed}: a closed leaf passes the gate\n{schema}\n{contract}");
    let views =
        SqlViewSet::parse(&files, &contracts).unwrap_or_else(|findings| panic!("seed {seed}: {findings}"));
    let proof = LeakProof::of(&contracts, &views);
    assert!(proof.holds(), "seed {seed}: {}", proof.text());

    // No text below a label is in the masked record.
    let contract = contracts.iter().next().unwrap();
    assert!(contract.fields.iter().all(|field| !(field.is_sensitive() && field.op == MaskOperation::Keep)));
    let mut planted = Vec::new();
    let mut record = json!({"id": 4711, "at": "2001-02-03T04:05:06Z"});
    for field in &fields {
        record[&field.name] = field.value(&mut dice, whole_is_tagged, true, &mut planted);
    }
    let mut datum = Vec::new();
    JsonConverter::compile(&contract.value)
        .unwrap()
        .run(record.to_string().as_bytes(), &mut datum)
        .unwrap_or_else(|error| panic!("seed {seed}: {error:?}\n{schema}\n{record}"));
    let patch = DatumPatch::compile(&contract.value, &contract.policy(keys).unwrap()).unwrap();
    let mut masked = Vec::new();
    patch.run(&datum, &mut masked).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    for canary in &planted {
        let piece = &canary.as_bytes()[4..12];
        assert!(
            !masked.windows(8).any(|window| window == piece),
            "seed {seed}: {canary} came out\n{contract:?}"
        );
    }
    true
}

#[test]
fn no_leaf_below_a_label_passes_the_gate_unmasked() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
    };
    let (seed, contracts) = (number("SEED", 1), number("CONTRACTS", CONTRACTS));
    println!("SEED={seed} CONTRACTS={contracts}");
    let files = crate::files::all();
    let (_, fact) = files.iter().find(|(path, _)| path.contains("sluice/fact")).unwrap();
    let keys = crate::files::keys();

    // Two threads, as the machine has.
    let accepted: u64 = std::thread::scope(|scope| {
        let run = |half: u64| {
            let (fact, keys) = (&fact, &keys);
            scope.spawn(move || {
                let seeds = (seed..seed + contracts).filter(|number| number % 2 == half);
                seeds.filter(|number| through_the_gate(*number, fact, keys)).count() as u64
            })
        };
        let threads = [run(0), run(1)];
        threads.map(|thread| thread.join().unwrap()).iter().sum()
    });
    // Both verdicts occur often enough to mean something.
    assert!(accepted * 10 > contracts && accepted * 10 < contracts * 9, "{accepted} of {contracts} accepted");
}
