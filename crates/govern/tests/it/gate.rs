//! Contracts that would let personal data through, or that make a promise that no store keeps: each kind in several
//! forms, refused; and their sound neighbours, accepted.

use serde_json::{Value, json};
use sluice_contract::ContractSet;
use sluice_govern::plan::{StoreAbilities, unread_settings};
use sluice_govern::{LeakProof, SqlViewSet, visible_topics};

/// A contract that is built step by step.
struct GateCase {
    domain: &'static str,
    id: &'static str,
    raw: String,
    masked: String,
    fields: Vec<Value>,
    properties: Vec<Value>,
    /// Attributes of the value's record.
    record: Value,
    /// More members of the contract and of its schema object.
    more: Value,
    object: Value,
    custom: Vec<Value>,
}

fn keep() -> Value {
    json!({"op": "keep"})
}

/// A property with a masking.
fn property(name: &str, logical: &str, class: &str, masking: Value) -> Value {
    json!({"name": name, "required": true, "logicalType": logical, "classification": class,
           "customProperties": [{"property": "masking", "value": masking}]})
}

/// A value with more members.
fn with(mut value: Value, more: Value) -> Value {
    for (key, inner) in more.as_object().unwrap() {
        value[key] = inner.clone();
    }
    value
}

impl GateCase {
    fn named(domain: &'static str, id: &'static str) -> Self {
        Self {
            domain,
            id,
            raw: format!("{domain}.{id}.v1"),
            masked: format!("{domain}.{id}.masked.v1"),
            fields: vec![json!({"name": "id", "type": "string"})],
            properties: vec![property("id", "string", "internal", keep())],
            record: json!({}),
            more: json!({}),
            object: json!({}),
            custom: vec![],
        }
    }

    fn new() -> Self {
        Self::named("red", "r")
    }

    /// With one more field and its property.
    fn field(mut self, field: Value, property: Value) -> Self {
        self.fields.push(field);
        self.properties.push(property);
        self
    }

    /// With a string leaf, tagged as given, and a masking.
    fn leaf(self, name: &str, kind: Value, logical: &str, class: &str, masking: Value) -> Self {
        self.field(json!({"name": name, "type": kind}), property(name, logical, class, masking))
    }

    fn custom(mut self, name: &str, value: Value) -> Self {
        self.custom.push(json!({"property": name, "value": value}));
        self
    }

    fn files(&self) -> Vec<(String, String)> {
        let value = with(
            json!({"type": "record", "name": "R", "namespace": "red", "fields": self.fields}),
            self.record.clone(),
        );
        let object = with(
            json!({"name": "r", "physicalName": self.raw, "physicalType": "topic", "logicalType": "object",
                   "properties": self.properties}),
            self.object.clone(),
        );
        let mut custom = self.custom.clone();
        custom.push(json!({"property": "maskedTopic", "value": self.masked}));
        if !custom.iter().any(|property| property["property"] == "recordKey") {
            custom.push(json!({"property": "recordKey", "value": "id"}));
        }
        let contract = with(
            json!({"apiVersion": "v3.1.0", "kind": "DataContract", "id": self.id, "version": "1.0.0",
                   "status": "active", "domain": self.domain, "team": {"name": "t"},
                   "slaProperties": [{"property": "retention", "value": 7, "unit": "d"}],
                   "customProperties": custom, "schema": [object]}),
            self.more.clone(),
        );
        let folder = format!("{}/{}", self.domain, self.id);
        vec![
            (format!("{folder}/value.avsc"), value.to_string()),
            (format!("{folder}/contract.odcs.yaml"), contract.to_string()),
        ]
    }

    /// The findings; empty if the contract is sound.
    fn findings(&self) -> String {
        parse(&self.files())
    }

    #[track_caller]
    fn refused(self, because: &str) {
        let findings = self.findings();
        assert!(findings.contains(because), "expected `{because}`, found: {findings}");
    }

    #[track_caller]
    fn accepted(self) {
        assert_eq!(self.findings(), "");
    }
}

fn parse(files: &[(String, String)]) -> String {
    ContractSet::parse(files).err().map_or(String::new(), |findings| {
        for finding in &findings.0 {
            assert!(finding.hint.is_some() && finding.line.is_some(), "{finding}");
        }
        findings.to_string()
    })
}

fn both(one: &GateCase, other: &GateCase) -> Vec<(String, String)> {
    one.files().into_iter().chain(other.files()).collect()
}

const TAGGED: &str = "kept as it is";

/// Containers, each with a leaf that is kept: schema, property, and the place of a tag in the schema.
fn containers() -> Vec<(&'static str, Value, Value)> {
    let leaf = |name: &str| property(name, "string", "internal", keep());
    let item = json!({"name": "item", "logicalType": "string", "classification": "internal",
                      "customProperties": [{"property": "masking", "value": keep()}]});
    let branch = |name: &str, logical: &str| {
        with(property(name, logical, "internal", keep()), json!({"required": false}))
    };
    let record = json!({"type": "record", "name": "Home", "fields": [{"name": "street", "type": "string"}]});
    let of_record =
        json!({"name": "x", "required": true, "logicalType": "object", "properties": [leaf("street")]});
    vec![
        (
            "array",
            json!({"type": "array", "items": "string"}),
            json!({"name": "x", "required": true, "logicalType": "array", "items": item}),
        ),
        ("record", record.clone(), of_record.clone()),
        ("nullable record", json!(["null", record]), with(of_record, json!({"required": false}))),
        (
            "map",
            json!({"type": "map", "values": "string"}),
            json!({"name": "x", "required": true, "logicalType": "object", "physicalType": "map",
                   "properties": [leaf("key"), leaf("value")]}),
        ),
        (
            "union",
            json!(["null", "string", "long"]),
            json!({"name": "x", "required": false, "physicalType": "union",
                   "properties": [branch("string", "string"), branch("long", "integer")]}),
        ),
        (
            "array of maps of records",
            json!({"type": "array", "items": {"type": "map", "values": record}}),
            json!({"name": "x", "required": true, "logicalType": "array", "items":
                {"logicalType": "object", "physicalType": "map", "properties": [leaf("key"),
                 {"name": "value", "logicalType": "object", "properties": [leaf("street")]}]}}),
        ),
    ]
}

#[test]
fn f01_a_label_on_a_container_reaches_every_leaf_below() {
    for (what, kind, property) in containers() {
        let field = json!({"name": "x", "type": kind});
        GateCase::new().field(field.clone(), property.clone()).accepted();
        let tagged = with(field.clone(), json!({"confluent:tags": ["PII"]}));
        let findings = GateCase::new().field(tagged.clone(), property.clone()).findings();
        assert!(findings.contains("tagged PII and kept"), "{what}, in the schema: {findings}");
        // Every leaf is named: a map has its keys, a union its branches.
        let leaves = if what == "map" || what == "union" || what.contains("maps") { 2 } else { 1 };
        assert_eq!(findings.matches("tagged PII").count(), leaves, "{what}: {findings}");

        let by_contract = with(property.clone(), json!({"tags": ["PII"]}));
        let findings = GateCase::new().field(field.clone(), by_contract).findings();
        assert!(findings.contains("tagged PII and kept"), "{what}, in the contract: {findings}");
        let restricted = with(property.clone(), json!({"classification": "Restricted"}));
        let findings = GateCase::new().field(field.clone(), restricted).findings();
        assert!(findings.contains("restricted and kept"), "{what}: {findings}");
        let confidential = with(property.clone(), json!({"classification": "confidential"}));
        GateCase::new().field(field, confidential).accepted();
    }
}

#[test]
fn f01_a_tag_on_a_record_inside_itself_reaches_the_leaves_above() {
    let tree = |tags: Value| {
        let record = json!({"type": "record", "name": "Node", "fields": [
            {"name": "name", "type": "string"},
            with(json!({"name": "child", "type": ["null", "Node"]}), tags)]});
        let node = json!({"name": "node", "required": true, "logicalType": "object", "properties": [
            property("name", "string", "internal", keep()),
            {"name": "child", "logicalType": "object"}]});
        GateCase::new().field(json!({"name": "node", "type": record}), node)
    };
    tree(json!({})).accepted();
    tree(json!({"confluent:tags": ["PII"]})).refused("node.name: tagged PII");

    // Dropped, it is not in the masked record, and the record around it is not below it.
    let record = json!({"type": "record", "name": "Node", "fields": [
        {"name": "name", "type": "string"},
        {"name": "child", "type": ["null", "Node"], "confluent:tags": ["PII"]}]});
    let node = json!({"name": "node", "required": true, "logicalType": "object", "properties": [
        property("name", "string", "internal", keep()),
        with(property("child", "object", "restricted", json!({"op": "drop"})), json!({"required": false}))]});
    GateCase::new().field(json!({"name": "node", "type": record}), node).accepted();
}

#[test]
fn f06_classifications_are_a_closed_list_without_case() {
    for (class, because) in [
        ("Restricted", "restricted and kept"),
        ("rEsTrIcTeD", "restricted and kept"),
        ("restrictd", "did you mean `restricted`?"),
        ("confidental", "did you mean `confidential`?"),
        ("secret", "`secret` is not a classification"),
        ("sensitive", "not a classification"),
        ("restricted\u{a0}", "not a classification"),
        ("", "not a classification"),
    ] {
        GateCase::new().leaf("x", json!("string"), "string", class, keep()).refused(because);
    }
    for class in ["public", "Internal", "CONFIDENTIAL"] {
        GateCase::new().leaf("x", json!("string"), "string", class, keep()).accepted();
    }
    // A container's own is read as well.
    let (_, kind, container) = containers().remove(0);
    let secret = with(container, json!({"classification": "secret"}));
    GateCase::new().field(json!({"name": "x", "type": kind}), secret).refused("not a classification");
}

#[test]
fn f07_masks_hide_something() {
    let sensitive = |kind: Value, logical: &str, masking: Value| {
        GateCase::new().leaf("x", kind, logical, "restricted", masking)
    };
    let open = |kind: Value, logical: &str, masking: Value| {
        GateCase::new().leaf("x", kind, logical, "internal", masking)
    };
    let date = || json!({"type": "int", "logicalType": "date"});
    let micros = || json!({"type": "long", "logicalType": "timestamp-micros"});
    let money = || json!({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2});
    let generalise = |key: &str, step: Value| {
        let mut masking = json!({"op": "generalise"});
        masking[key] = step;
        masking
    };

    // Identity, of any leaf.
    let same = "leaves the value as it is";
    open(date(), "date", generalise("date", json!("1d"))).refused(same);
    open(date(), "date", generalise("date", json!("24h"))).refused(same);
    open(json!("int"), "integer", generalise("number", json!(1))).refused(same);
    open(json!("long"), "integer", generalise("number", json!([0, 1, 2, 3]))).refused(same);
    open(money(), "number", generalise("number", json!(0.01))).refused(same);
    open(json!("double"), "number", generalise("number", json!(1e-9))).refused(same);
    open(json!("float"), "number", json!({"op": "generalise", "geo": "grid", "degrees": 1e-8})).refused(same);

    // Floors, of sensitive ones.
    let low = "hides too little";
    sensitive(date(), "date", generalise("date", json!("1w"))).refused(low);
    sensitive(micros(), "timestamp", generalise("date", json!("1m"))).refused(low);
    sensitive(json!("int"), "integer", generalise("number", json!(2))).refused(low);
    sensitive(json!("int"), "integer", generalise("number", json!([0, 2, 99]))).refused(low);
    sensitive(money(), "number", generalise("number", json!(0.5))).refused(low);
    sensitive(json!("double"), "number", json!({"op": "generalise", "geo": "grid", "degrees": 0.001}))
        .refused(low);
    for (first, last) in [(9, 1), (2, 2), (0, 20), (4, 0)] {
        let partial = json!({"op": "partial", "keepFirst": first, "keepLast": last, "length": 64});
        sensitive(json!("string"), "string", partial.clone()).refused("at least half");
        open(json!("string"), "string", partial).accepted();
    }

    // Sound masks.
    sensitive(date(), "date", generalise("date", json!("1y"))).accepted();
    sensitive(micros(), "timestamp", generalise("date", json!("1h"))).accepted();
    sensitive(json!("int"), "integer", generalise("number", json!([18, 65]))).accepted();
    sensitive(json!("string"), "string", json!({"op": "partial", "keepLast": 2, "length": 8})).accepted();
    let hmac = json!({"op": "hmac", "key": "pseudonym", "domain": "x"});
    sensitive(json!("int"), "integer", hmac.clone()).accepted();
    sensitive(date(), "date", hmac).accepted();
    sensitive(json!("string"), "string", json!({"op": "redact", "with": ""})).accepted();
    let long = with(
        property("x", "string", "restricted", json!({"op": "partial", "keepFirst": 6, "length": 12})),
        json!({"logicalTypeOptions": {"minLength": 22}}),
    );
    GateCase::new().field(json!({"name": "x", "type": "string"}), long).accepted();
}

#[test]
fn f07_a_company_raises_the_floors() {
    let case = || {
        let born = json!({"type": "int", "logicalType": "date"});
        GateCase::new().leaf("born", born, "date", "restricted", json!({"op": "generalise", "date": "1mo"}))
    };
    let policy = |text: &str| {
        let mut files = case().files();
        files.push(("schemas/sluice/policy.yaml".to_owned(), text.to_owned()));
        parse(&files)
    };
    case().accepted();
    assert!(policy("floors: {generalise: {date: 1y}}").contains("hides too little"));
    assert!(policy("floors: {generalise: {date: 1d}}").contains("cannot be lowered"));
    assert!(policy("flors: {}").contains("unknown key `flors`"));
}

#[test]
fn f13_branches_and_fields_that_cannot_be_told_apart_are_refused() {
    let person = |namespace: &str| {
        json!({"type": "record", "name": "Person", "namespace": namespace,
                                          "fields": [{"name": "name", "type": "string"}]})
    };
    let name = property("name", "string", "internal", keep());
    let who = |branches: Value, properties: Value| {
        let who = json!({"name": "who", "required": true, "physicalType": "union", "properties": properties});
        GateCase::new().field(json!({"name": "who", "type": branches}), who)
    };
    let of_person = json!([{"name": "Person", "logicalType": "object", "properties": [name]}]);
    who(json!([person("crm"), person("shop")]), of_person).refused("the same name without namespace");
    let fixed = json!({"type": "fixed", "name": "P", "namespace": "a", "size": 4});
    let kinds = json!({"type": "enum", "name": "P", "namespace": "b", "symbols": ["X"]});
    let of_p = json!([property("P", "string", "internal", keep())]);
    who(json!([fixed, kinds]), of_p).refused("the same name without namespace");

    let hmac = json!({"op": "hmac", "key": "pseudonym", "domain": "x"});
    let two = GateCase::new().leaf("email", json!("string"), "string", "restricted", hmac).leaf(
        "Email",
        json!("string"),
        "string",
        "internal",
        keep(),
    );
    two.refused("differ by case only");
    let inner = json!({"type": "record", "name": "In", "fields": [{"name": "a", "type": "string"}, {"name": "A", "type": "string"}]});
    let properties =
        [property("a", "string", "internal", keep()), property("A", "string", "internal", keep())];
    let nested = json!({"name": "in", "required": true, "logicalType": "object", "properties": properties});
    GateCase::new()
        .field(json!({"name": "in", "type": inner}), nested)
        .refused("`in.a` and `in.A` differ by case");
}

#[test]
fn f15_two_files_of_one_name_are_refused() {
    for name in [0, 1] {
        let mut files = GateCase::new().files();
        let again = files[name].clone();
        files.push(again);
        assert!(parse(&files).contains("two files have this name"));
    }
}

#[test]
fn f17_tags_are_honoured_or_refused() {
    let kept = |field: Value| GateCase::new().field(field, property("x", "string", "internal", keep()));
    let tags = json!(["PII"]);

    // Honoured on the field, on its type, on a definition that it names, on the record.
    kept(json!({"name": "x", "type": "string", "confluent:tags": tags})).refused(TAGGED);
    kept(json!({"name": "x", "type": {"type": "string", "confluent:tags": tags}})).refused(TAGGED);
    let mut record = GateCase::new();
    record.record = json!({"confluent:tags": tags});
    record.refused("id: tagged PII");
    let kind = json!({"type": "enum", "name": "K", "symbols": ["A"], "confluent:tags": tags});
    let enumerated = GateCase::new().field(
        json!({"name": "x", "type": {"type": "array", "items": kind}}),
        json!({"name": "x", "required": true, "logicalType": "array", "items":
            {"logicalType": "string", "classification": "internal", "customProperties": [{"property": "masking", "value": keep()}]}}),
    );
    enumerated.refused("x[]: tagged PII");

    // Honoured in the contract: on a property, on the object, on the contract as a whole.
    let property_of = with(property("x", "string", "internal", keep()), json!({"tags": tags}));
    GateCase::new().field(json!({"name": "x", "type": "string"}), property_of).refused(TAGGED);
    let mut object = GateCase::new();
    object.object = json!({"tags": tags});
    object.refused(TAGGED);
    let mut whole = GateCase::new();
    whole.more = json!({"tags": ["gdpr:personal"]});
    whole.refused(TAGGED);
    let mut categories = GateCase::new();
    categories.more = json!({"tags": ["finance", "payments"]});
    categories.accepted();

    // Refused in another spelling, place or form.
    for attribute in
        ["Confluent:Tags", "confluent.tags", "confluent:tag", "tags", "pii", "isPii", "classification"]
    {
        let mut field = json!({"name": "x", "type": "string"});
        field[attribute] = json!(["PII"]);
        kept(field).refused("is not read");
    }
    kept(json!({"name": "x", "type": "string", "meta": {"confluent:tags": tags}}))
        .refused("not read at this place");
    kept(json!({"name": "x", "type": "string", "confluent:tags": "PII"})).refused("not a list of texts");

    // One file is enough, and two must agree.
    let hmac = json!({"op": "hmac", "key": "pseudonym", "domain": "x"});
    let masked = |property_tags: Value, field_tags: Value| {
        let property = with(property("x", "string", "restricted", hmac.clone()), property_tags);
        GateCase::new().field(with(json!({"name": "x", "type": "string"}), field_tags), property)
    };
    masked(json!({}), json!({"confluent:tags": tags})).accepted();
    masked(json!({"tags": tags}), json!({})).accepted();
    masked(json!({"tags": tags}), json!({"confluent:tags": tags})).accepted();
    masked(json!({"tags": ["QUASI"]}), json!({"confluent:tags": tags})).refused("tags differ");
}

#[test]
fn f18_a_nulled_part_takes_its_defaults_with_it() {
    let home = json!({"type": "record", "name": "Home", "fields": [
        {"name": "street", "type": "string", "default": "1 Secret Street"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["FLAT", "SECRET"], "default": "SECRET"}},
        {"name": "inner", "type": {"type": "record", "name": "Inner", "fields": [{"name": "n", "type": "int", "default": 4711}]},
         "default": {"n": 4711}}]});
    let null = json!({"name": "home", "required": true, "logicalType": "object",
                      "customProperties": [{"property": "masking", "value": {"op": "null"}}], "classification": "restricted"});
    let kept = property("kept", "string", "internal", keep());
    let kind = GateCase::new()
        .field(json!({"name": "home", "type": home, "default": {"street": "1 Secret Street", "kind": "FLAT", "inner": {"n": 4711}}}), null)
        .field(json!({"name": "kept", "type": "string", "default": "stays"}), kept);
    let contracts = ContractSet::parse(&kind.files()).unwrap_or_else(|findings| panic!("{findings}"));
    let masked = contracts.iter().next().unwrap().masked_schema().json().to_owned();
    assert!(!masked.contains("Secret Street") && !masked.contains("4711"), "{masked}");
    let masked = masked.replace(' ', "");
    assert!(!masked.contains(r#""default":"SECRET""#) && masked.contains(r#""default":"stays""#), "{masked}");
}

#[test]
fn f20_two_branches_that_become_one_type_are_refused_with_their_path() {
    let hmac = |name: &str, logical: &str| {
        let masking = json!({"op": "hmac", "key": "pseudonym", "domain": "who"});
        with(property(name, logical, "restricted", masking), json!({"required": false}))
    };
    let union = |branches: Value, properties: Vec<Value>| {
        let who =
            json!({"name": "who", "required": false, "physicalType": "union", "properties": properties});
        GateCase::new().field(json!({"name": "who", "type": branches}), who)
    };
    let because = "who: two branches of this union would both become `string`";
    union(json!(["null", "string", "long"]), vec![hmac("string", "string"), hmac("long", "integer")])
        .refused(because);
    let kept = with(property("string", "string", "internal", keep()), json!({"required": false}));
    union(json!(["string", "long", "null"]), vec![kept, hmac("long", "integer")]).refused(because);
    let kept = with(property("long", "integer", "internal", keep()), json!({"required": false}));
    union(json!(["null", "string", "long"]), vec![hmac("string", "string"), kept]).accepted();
}

#[test]
fn f03_topics_that_are_not_ours_are_refused() {
    for topic in [
        "__consumer_offsets",
        "__transaction_state",
        "_schemas",
        "_confluent-command",
        "sluice.receipts",
        "sluice.policy",
        "SLUICE.receipts",
        "sluice.collector.job.checkpoints",
        "other.v1.dead-letter",
        "other.v1.DEAD-LETTER",
        "connect-offsets",
        "app-store-changelog",
        "app-by-id-repartition",
    ] {
        let mut case = GateCase::new();
        case.masked = topic.to_owned();
        case.refused("is a topic of");
        let mut case = GateCase::new();
        case.raw = topic.to_owned();
        case.refused("is a topic of");
        let born = json!({"type": "long", "logicalType": "timestamp-millis"});
        let facts =
            json!({"topic": topic, "entityType": "t", "entity": ["id"], "time": "at", "attributes": ["id"]});
        let case = GateCase::new().leaf("at", born, "timestamp", "internal", keep()).custom("facts", facts);
        case.refused("is a topic of");
    }

    // One table name, inside a contract and across two.
    for masked in ["red.r.v1", "RED.r.v1", "red_r_v1", "red-r.v1"] {
        let mut case = GateCase::new();
        case.masked = masked.to_owned();
        let findings = case.findings();
        assert!(
            findings.contains("is used by") || findings.contains("one table name"),
            "{masked}: {findings}"
        );
    }
    for (other_raw, other_masked) in [("red-r.v1", "x.v1"), ("x.v1", "RED.R.V1"), ("x.v1", "red.r.masked-v1")]
    {
        let mut other = GateCase::named("blue", "b");
        (other.raw, other.masked) = (other_raw.to_owned(), other_masked.to_owned());
        let findings = parse(&both(&GateCase::new(), &other));
        assert!(findings.contains("one table name"), "{other_raw} {other_masked}: {findings}");
    }
    assert_eq!(parse(&both(&GateCase::new(), &GateCase::named("blue", "b"))), "");
}

#[test]
fn f03_roles_have_names_of_their_own() {
    let role = |name: &str| {
        let mut case = GateCase::new();
        case.more = json!({"roles": [{"role": name, "access": "read", "customProperties": [{"property": "view", "value": "raw"}]}]});
        case
    };
    for name in [
        "*",
        "User:*",
        "ANONYMOUS",
        "anonymous",
        "sink",
        "Masker",
        "normaliser",
        "collector",
        "apply",
        "verify",
        "a b",
        "-x",
        "",
    ] {
        role(name).refused("is no name for a role");
    }
    role("analysts").accepted();
    role("sink-readers").accepted();
}

#[test]
fn headers_have_a_classification_and_an_operation() {
    let headers = |allow: Value| GateCase::new().custom("headers", json!({"allow": allow}));
    for name in ["user-email", "authorization", "cookie", "x-request-id", "tracestate"] {
        headers(json!([name])).refused("has no classification and no masking");
    }
    headers(json!(["traceparent"])).accepted();
    let header = |more: Value| headers(json!([with(json!({"name": "h"}), more)]));
    header(json!({"classification": "internal", "masking": keep()})).accepted();
    header(json!({"classification": "restricted", "masking": keep()})).refused(TAGGED);
    header(json!({"classification": "internal", "tags": ["PII"], "masking": keep()})).refused(TAGGED);
    header(json!({"classification": "secret", "masking": keep()})).refused("not a classification");
    header(json!({"masking": keep()})).refused("no classification");
    header(json!({"classification": "internal"})).refused("no masking");
    header(json!({"classification": "internal", "masking": {"op": "generalise", "number": 5}}))
        .refused("does not fit");
    header(json!({"classification": "restricted", "masking": {"op": "partial", "keepFirst": 9}}))
        .refused("at least half");
    let hmac = json!({"op": "hmac", "key": "pseudonym", "domain": "email"});
    header(json!({"classification": "restricted", "tags": ["PII"], "masking": hmac})).accepted();
    headers(json!([{"name": "sluice.source", "classification": "internal", "masking": keep()}]))
        .refused("fleet's own");
}

#[test]
fn a_contract_decides_about_a_key_that_is_nobodys_leaf() {
    let keyed = |key: Value| GateCase::new().custom("recordKey", key);
    keyed(json!("none")).accepted();
    keyed(json!({"classification": "restricted", "masking": {"op": "drop"}})).accepted();
    keyed(json!({"classification": "internal", "masking": keep()})).accepted();
    keyed(json!({"classification": "restricted", "masking": keep()})).refused(TAGGED);
    keyed(json!({"classification": "internal", "tags": ["PII"], "masking": keep()})).refused(TAGGED);
    keyed(json!({"classification": "internal", "masking": {"op": "redact"}})).refused("two keys equal");
    keyed(json!({"masking": keep()})).refused("no classification");
    keyed(json!({"classification": "internal"})).refused("no masking");
    keyed(json!(7)).refused("expected the key's leaf");
    keyed(json!("none"))
        .custom("topic", json!({"cleanup": "compact"}))
        .refused("a compacted topic needs a key");
}

#[test]
fn one_domain_has_one_spelling_one_key_and_one_epoch() {
    let with_domain = |domain: &'static str, id: &'static str, masking: Value| {
        let hmac = with(json!({"op": "hmac", "key": "pseudonym", "domain": "email"}), masking);
        GateCase::named(domain, id).leaf("n", json!("string"), "string", "restricted", hmac)
    };
    for (one, other, because) in [
        (json!({"epoch": 1}), json!({"epoch": 2}), "has the epoch"),
        (json!({}), json!({"epoch": 2}), "has the epoch"),
        (json!({}), json!({"domain": "Email"}), "by case, blanks or separators"),
        (json!({}), json!({"domain": "e-mail"}), "by case, blanks or separators"),
        (json!({}), json!({"domain": "email "}), "begin or end with a blank"),
        (json!({}), json!({"key": "other"}), "has the key"),
    ] {
        let findings = parse(&both(&with_domain("red", "a", one), &with_domain("blue", "b", other)));
        assert!(findings.contains(because), "{because}: {findings}");
    }
    let header = json!({"allow": [{"name": "h", "classification": "restricted", "masking": {"op": "hmac", "key": "pseudonym", "domain": "EMAIL"}}]});
    with_domain("red", "a", json!({})).custom("headers", header).refused("by case, blanks or separators");
    assert_eq!(parse(&both(&with_domain("red", "a", json!({})), &with_domain("blue", "b", json!({})))), "");
}

/// The repository of the view cases: a raw and a masked topic, and one view.
fn leaks(sql: &str) -> Result<Vec<String>, String> {
    let hmac = json!({"op": "hmac", "key": "pseudonym", "domain": "id"});
    let mut case = GateCase::new();
    case.fields = vec![
        json!({"name": "id", "type": "string"}),
        json!({"name": "email", "type": "string"}),
        json!({"name": "n", "type": "int"}),
    ];
    case.properties = vec![
        property("id", "string", "restricted", hmac),
        property("email", "string", "restricted", json!({"op": "drop"})),
        property("n", "integer", "internal", keep()),
    ];
    let mut files = case.files();
    files.push(("red/views/bad.sql".to_owned(), sql.to_owned()));
    let contracts = ContractSet::parse(&files).unwrap();
    let views = SqlViewSet::parse(&files, &contracts).map_err(|findings| findings.to_string())?;
    Ok(LeakProof::of(&contracts, &views).leaks.iter().map(ToString::to_string).collect())
}

#[test]
fn f02_a_cte_hides_a_table_only_as_the_engine_sees_it() {
    for sql in [
        r#"WITH "RED_R_V1" AS (SELECT 'x' AS email) SELECT email FROM red_r_v1"#,
        r#"WITH red_r_v1 AS (SELECT 'x' AS email) SELECT email FROM "RED_R_V1""#,
        r#"WITH "Red_R_V1" AS (SELECT 1 AS n) SELECT count(*) AS c FROM red_r_v1 WHERE n > 0"#,
        r#"WITH "RED.R.V1" AS (SELECT 'x' AS email) SELECT email FROM "red.r.v1""#,
        r#"SELECT e FROM (WITH "RED_R_V1" AS (SELECT 'x' AS email) SELECT email AS e FROM red_r_v1) q"#,
        r#"WITH a AS (SELECT 1 AS n), "A" AS (SELECT email FROM red_r_v1) SELECT email FROM "A""#,
        // One name is a CTE at one place and the table at another.
        r"SELECT x.n FROM (WITH red_r_v1 AS (SELECT 1 AS n) SELECT n FROM red_r_v1) x JOIN red_r_v1 y ON y.n = x.n",
        r"SELECT INTERVAL (SELECT max(email) FROM red_r_v1) DAY AS t FROM red_r_masked_v1",
    ] {
        assert!(leaks(sql) != Ok(vec![]), "{sql}");
    }
    for sql in [
        r"WITH red_r_v1 AS (SELECT * FROM red_r_masked_v1) SELECT id FROM red_r_v1",
        r"WITH Red_R_v1 AS (SELECT 'x' AS email) SELECT email FROM RED_R_V1",
        r#"WITH "red.r.v1" AS (SELECT 'x' AS email) SELECT email FROM red.r.v1"#,
    ] {
        assert_eq!(leaks(sql), Ok(vec![]), "{sql}");
    }
}

#[test]
fn f02_a_view_has_a_name_of_its_own_and_a_bad_one_is_refused_alone() {
    let mut files = GateCase::new().files();
    let view = |name: &str, sql: &str| (format!("red/views/{name}.sql"), sql.to_owned());
    files.extend([
        view("red_r_masked_v1", "SELECT 1 AS n"),
        view("red_r_v1_dead_letter", "SELECT 1 AS n"),
        view("good", "SELECT id FROM red_r_masked_v1"),
        view("broken", "SELECT nothing FROM red_r_masked_v1"),
        view("on_broken", "SELECT * FROM broken"),
        view("leaky", "SELECT id FROM red_r_v1"),
        view("on_leaky", "SELECT id FROM leaky"),
    ]);
    let contracts = ContractSet::parse(&files).unwrap();
    let (views, findings) = SqlViewSet::parse_each(&files, &contracts);
    let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
    assert_eq!(names, ["good", "leaky", "on_leaky"]);
    let files: Vec<&str> = findings.iter().map(|finding| finding.file.as_str()).collect();
    assert_eq!(
        files,
        ["red/views/broken.sql", "red/views/red_r_masked_v1.sql", "red/views/red_r_v1_dead_letter.sql"]
    );
    let left = views.without(&["leaky".to_owned()].into());
    assert_eq!(left.iter().map(|view| view.name.as_str()).collect::<Vec<_>>(), ["good"]);
}

#[test]
fn f11_promises_that_nothing_keeps_are_found_and_wishes_name_their_reader() {
    let at = json!({"type": "long", "logicalType": "timestamp-millis"});
    let warehouse = |value: Value| {
        let mut case = GateCase::new()
            .leaf("at", at.clone(), "timestamp", "internal", keep())
            .custom("warehouse", value);
        case.more = json!({"slaProperties": [{"property": "retention", "value": 7, "unit": "d"}, {"property": "latency", "value": 4, "unit": "s"}]});
        case.object = json!({"quality": [{"metric": "rowCount", "mustBeGreaterThan": 0}]});
        let contracts = ContractSet::parse(&case.files()).unwrap_or_else(|findings| panic!("{findings}"));
        let found = unread_settings(&contracts, StoreAbilities::default());
        let shown = |promise: bool| -> Vec<String> {
            found
                .iter()
                .filter(|setting| setting.is_promise == promise)
                .map(|setting| setting.setting.clone())
                .collect()
        };
        (shown(true), shown(false))
    };
    let wishes = |more: &[&str]| -> Vec<String> {
        let mut all: Vec<String> =
            ["quality", "slaProperties: latency"].iter().chain(more).map(|s| (*s).to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!(warehouse(json!({"mode": "append"})), (vec![], wishes(&[])));
    let upsert = warehouse(json!({"mode": "upsert", "key": ["id"]}));
    assert_eq!(upsert, (vec!["warehouse.mode: upsert".to_owned()], wishes(&[])));
    let (promises, seen) = warehouse(
        json!({"mode": "append", "cluster": ["id"], "partition": {"field": "at", "by": "day", "expireDays": 9}}),
    );
    assert_eq!(promises, ["warehouse.partition.expireDays"]);
    assert_eq!(seen, wishes(&["warehouse.cluster", "warehouse.partition"]));
}

#[test]
fn a_role_sees_what_its_contracts_give_it_and_nobody_sees_raw_data() {
    let with_role = |domain: &'static str, id: &'static str, role: &str, view: &str| {
        let mut case = GateCase::named(domain, id);
        case.more = json!({"roles": [{"role": role, "access": "read", "customProperties": [{"property": "view", "value": view}]}]});
        case
    };
    let files =
        both(&with_role("red", "a", "analysts", "masked"), &with_role("blue", "b", "raw-readers", "raw"));
    let contracts = ContractSet::parse(&files).unwrap();
    let sees = |role: Option<&str>| {
        visible_topics(&contracts, role).map(|topics| topics.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(sees(None).unwrap(), ["blue.b.masked.v1", "red.a.masked.v1"]);
    assert_eq!(sees(Some("analysts")).unwrap(), ["red.a.masked.v1"]);
    assert_eq!(
        sees(Some("raw-readers")).unwrap(),
        ["blue.b.masked.v1", "blue.b.v1", "blue.b.v1.dead-letter"]
    );
    assert!(sees(Some("analyst")).unwrap_err().to_string().contains("did you mean `analysts`?"));
}
