//! Tables with the lineage columns of version 0.1, and queries under both spellings.

use sluice_core::names::lineage;
use sluice_core::{LearnError, SchemaId};
use sluice_wire::columns::ColumnBatchBuilder;

use super::*;
use crate::docs::FieldDocs;
use crate::fixture::try_give;
use crate::log::DeltaChange;
use crate::plan::{self, TableChange};
use crate::types::{LINEAGE, LineageSpelling, table_schema};

/// A field more than [`FLIGHT`] has.
const NEWER: SchemaId = SchemaId(8);

/// Makes the table as version 0.1 did: with the lineage columns under their former names, and without rows.
fn make_former_table(lake: &Path) {
    let parsed = sluice_wire::DatumSchema::parse(FLIGHT).unwrap();
    let decoded = ColumnBatchBuilder::compile(&parsed, None).unwrap().schema();
    let present = table_schema(&decoded, &FieldDocs::read(FLIGHT)).unwrap();
    let schema = LineageSpelling::Former.spell(&present);
    std::fs::create_dir_all(lake.join(TOPIC)).unwrap();
    let mut log = delta(lake).open(TOPIC).unwrap();
    let change = DeltaChange::Create { schema, name: TOPIC.to_owned(), description: None };
    let commit = log.describe(change, None).unwrap();
    assert_eq!(runtime().block_on(log.commit(&commit)).unwrap(), Some(0));
}

/// Names of the columns of a query's answer.
fn columns(lake: &Path, sql: &str) -> Vec<String> {
    query(lake, sql)[0].schema().fields().iter().map(|field| field.name().clone()).collect()
}

/// The record's columns of [`FLIGHT`], then lineage columns.
fn with_lineage(names: [&str; 5]) -> Vec<String> {
    ["carrier", "flight", "arr_delay", "time_hour"].into_iter().chain(names).map(str::to_owned).collect()
}

/// Commits that change the table's columns, its creation among them.
fn schema_commits(lake: &Path) -> usize {
    let log = std::fs::read_dir(lake.join(TOPIC).join("_delta_log")).unwrap();
    let texts = log.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default());
    texts.filter(|text| text.contains("\"metaData\"")).count()
}

#[test]
fn a_table_of_the_former_names_is_continued_under_them() {
    let lake = tempfile::tempdir().unwrap();
    make_former_table(lake.path());
    for round in 0..2 {
        let mut store = delta(lake.path());
        resume(&mut store, 0);
        resume(&mut store, 1);
        feed(&mut store, 0, round * 10..round * 10 + 10);
        // The rows of another partition are dropped, and told apart by the table's column.
        feed(&mut store, 1, 0..3);
        store.forget(&at(1));
        store.flush().unwrap();
    }
    let table = "aviation_flight_masked_v1";
    assert_eq!(schema_commits(lake.path()), 1, "no commit has changed the columns");
    assert_eq!(
        columns(lake.path(), &format!("SELECT * FROM {table}")),
        with_lineage(LineageSpelling::Former.names())
    );

    // Every value is in its column, whichever name is asked for.
    let wrong = |names: [&str; 5]| {
        let [topic, partition, offset, timestamp, schema_id] = names;
        let sql = format!(
            "SELECT count(*) FROM {table} WHERE flight <> {offset} OR {topic} <> '{TOPIC}' OR {partition} <> 0
             OR {schema_id} <> 7 OR arrow_cast({timestamp}, 'Int64') <> (1700000000000 + {offset}) * 1000"
        );
        number(lake.path(), &sql)
    };
    assert_eq!(flights(lake.path()), 20);
    assert_eq!((wrong(LineageSpelling::Former.names()), wrong(LINEAGE)), (0, 0));
    assert_eq!(offsets(lake.path(), 0), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_table_of_the_former_names_grows_before_them_and_the_plan_agrees() {
    let lake = tempfile::tempdir().unwrap();
    make_former_table(lake.path());
    let planned = |schema: &str| runtime().block_on(plan::table(Some(lake.path()), TOPIC, schema)).unwrap();
    assert_eq!(planned(FLIGHT).change, TableChange::Nothing);
    assert_eq!(planned(FLIGHT).ddl, "");

    // A new column goes before the lineage columns, which stay the last ones.
    let newer = FLIGHT.replace(
        r#"{"name":"time_hour""#,
        r#"{"name":"gate","type":["null","string"],"default":null},{"name":"time_hour""#,
    );
    assert_eq!(planned(&newer).ddl, "ALTER TABLE \"aviation.flight.masked.v1\" ADD COLUMN \"gate\" STRING");
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    feed(&mut store, 0, 0..3);
    let apache_avro::types::Value::Record(mut fields) = flight(3) else { panic!("a record") };
    let gate = apache_avro::types::Value::Union(0, Box::new(apache_avro::types::Value::Null));
    fields.insert(3, ("gate".into(), gate));
    let value = framed(&newer, NEWER, apache_avro::types::Value::Record(fields));
    assert_eq!(give(&mut store, &newer, 0, 3, Some(&value)), Outcome::Emitted);
    store.flush().unwrap();
    let seen = columns(lake.path(), &format!("SELECT * FROM \"{TOPIC}\""));
    assert_eq!(seen[4], "gate");
    assert_eq!(seen[5..], LineageSpelling::Former.names());
    assert_eq!(offsets(lake.path(), 0), [0, 1, 2, 3]);
    assert_eq!(planned(&newer).change, TableChange::Nothing);
}

#[test]
fn a_record_with_a_field_of_either_spelling_is_refused_by_every_table() {
    for has_former in [true, false] {
        let lake = tempfile::tempdir().unwrap();
        if has_former {
            make_former_table(lake.path());
        }
        for name in lineage::ALL.into_iter().flat_map(|(name, former)| [name, former]) {
            let mut store = delta(lake.path());
            let schema = FLIGHT.replace("carrier", name);
            let value = framed(&schema, ID, flight_with(name));
            let Err(LearnError::Uncovered(reason)) = try_give(&mut store, &schema, 0, 0, Some(&value)) else {
                panic!("{name} was taken")
            };
            assert_eq!(reason.path, name);
        }
    }
}

/// The flight at offset 0 with another name for its first field.
fn flight_with(name: &str) -> apache_avro::types::Value {
    let apache_avro::types::Value::Record(mut fields) = flight(0) else { panic!("a record") };
    fields[0].0 = name.to_owned();
    apache_avro::types::Value::Record(fields)
}

#[test]
fn both_spellings_answer_and_a_star_shows_each_column_once() {
    let table = "aviation_flight_masked_v1";
    for is_former in [true, false] {
        let lake = tempfile::tempdir().unwrap();
        if is_former {
            make_former_table(lake.path());
        }
        let mut store = delta(lake.path());
        resume(&mut store, 0);
        feed(&mut store, 0, 0..3);
        store.flush().unwrap();
        let own = if is_former { LineageSpelling::Former } else { LineageSpelling::Present }.names();
        let all = with_lineage(own);
        let seen = |sql: String| columns(lake.path(), &sql);

        // By name: each spelling, both at once, and in another case.
        for (name, former) in lineage::ALL {
            assert_eq!(seen(format!("SELECT {former}, {name} FROM {table}")), [former, name]);
            assert_eq!(seen(format!("SELECT t.{} FROM {table} t", former.to_uppercase())), [former]);
        }
        let sum = format!(
            "SELECT sum(_offset + 10 * _kafka_offset) FROM {table} WHERE _partition = _kafka_partition"
        );
        assert_eq!(number(lake.path(), &sum), 33);

        // By `*`, beside names of either spelling.
        for name in ["_offset", "_kafka_offset"] {
            assert_eq!(seen(format!("SELECT * FROM {table} ORDER BY {name} DESC LIMIT 2")), all);
            assert_eq!(seen(format!("SELECT t.* FROM \"{TOPIC}\" t WHERE t.{name} > 0")), all);
            assert_eq!(seen(format!("SELECT {table}.* FROM {table} WHERE {name} > 0")), all);
            assert_eq!(seen(format!("SELECT * FROM (SELECT * FROM {table} WHERE {name} > 0) x")), all);
            assert_eq!(seen(format!("SELECT * EXCEPT (carrier) FROM {table} WHERE {name} > 0")), all[1..]);
            for items in ["*", "a.*, b.*"] {
                let sql = format!("SELECT {items} FROM {table} a JOIN {table} b ON a.{name} = b.{name}");
                assert_eq!(seen(sql), [all.clone(), all.clone()].concat(), "{items}");
            }

            // A name that only a `*` could hand on is found all the same.
            assert_eq!(number(lake.path(), &format!("SELECT max({name}) FROM (SELECT * FROM {table}) x")), 2);
        }
        // Without any lineage column in the query.
        assert_eq!(seen(format!("SELECT * FROM {table}")), all);
    }
}

#[test]
fn views_may_use_either_spelling_beside_each_other() {
    use sluice_warehouse::WarehouseView;
    let lake = tempfile::tempdir().unwrap();
    make_former_table(lake.path());
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    feed(&mut store, 0, 0..4);
    store.flush().unwrap();
    let view = |name: &str, sql: &str| WarehouseView { name: name.to_owned(), sql: sql.to_owned() };
    let table = "aviation_flight_masked_v1";
    let views = [
        view("present", &format!("SELECT flight, _kafka_offset AS o FROM {table}")),
        view("former", &format!("SELECT flight, _offset AS o FROM {table}")),
        view("everything", &format!("SELECT * FROM {table} WHERE _kafka_offset >= 0")),
    ];
    let ask = |sql: &str| {
        runtime().block_on(warehouse::query_with_views(lake.path(), &views, sql)).unwrap().remove(0)
    };
    let joined = ask(&format!(
        "SELECT count(*) FROM present p JOIN former f ON p.o = f.o JOIN {table} t ON t._kafka_offset = p.o"
    ));
    assert_eq!(joined.column(0).as_primitive::<Int64Type>().value(0), 4);
    assert_eq!(ask("SELECT * FROM everything").num_columns(), 9);
    // Names of both spellings answer through a view that hands the table's columns on.
    assert_eq!(ask("SELECT _offset, _kafka_offset FROM everything").num_columns(), 2);
    assert_eq!(
        ask(&format!("SELECT * FROM {table}, everything WHERE everything._kafka_offset = 0")).num_columns(),
        18
    );
}
