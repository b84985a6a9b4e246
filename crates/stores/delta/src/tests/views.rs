//! Views over the tables, made when a query names them.

use super::*;
use sluice_warehouse::WarehouseView;

fn view(name: &str, sql: &str) -> WarehouseView {
    WarehouseView { name: name.to_owned(), sql: sql.to_owned() }
}

#[test]
fn a_view_is_made_after_what_it_reads_and_a_circle_is_said() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    feed(&mut store, 0, 0..3);
    store.flush().unwrap();
    let table = "aviation_flight_masked_v1";
    let views = [
        // Named before what it reads, by a CTE too, and the same table by both of its names.
        view(
            "all_of_them",
            &format!(
                "-- how many\nWITH n AS (SELECT * FROM each_one) SELECT count(*) AS n FROM n JOIN \"{TOPIC}\" t ON t._kafka_offset = n.o JOIN {table} u ON u._kafka_offset = n.o"
            ),
        ),
        view("each_one", &format!("SELECT _kafka_offset AS o FROM {table}")),
        view("a", "SELECT * FROM b"),
        view("b", "SELECT * FROM c"),
        view("c", "SELECT o FROM a JOIN each_one USING (o)"),
        view("itself", "SELECT 1 AS x FROM itself"),
        view("broken", "SELECT nothing FROM nowhere"),
        view("writes", "DROP TABLE each_one"),
        // A table goes before a view of its name.
        view(table, "SELECT 1 AS x"),
    ];
    let ask = |sql: &str| {
        let asked = runtime().block_on(warehouse::query_with_views(lake.path(), &views, sql));
        asked.map_err(|error| error.to_string())
    };
    let count = |sql: &str| ask(sql).unwrap()[0].column(0).as_primitive::<Int64Type>().value(0);
    assert_eq!(count("SELECT n FROM all_of_them"), 3);
    assert_eq!(
        count(&format!("SELECT count(*) FROM each_one e JOIN all_of_them ON true JOIN {table} ON true")),
        9
    );
    assert_eq!(count(&format!("SELECT count(carrier) FROM {table}")), 3);
    assert_eq!(ask("SELECT * FROM a").unwrap_err(), "the view `a` reads itself: a -> b -> c -> a");
    assert_eq!(ask("SELECT * FROM itself").unwrap_err(), "the view `itself` reads itself: itself -> itself");
    let missing = ask("SELECT * FROM broken").unwrap_err();
    assert!(missing.starts_with("there is no table or view `nowhere`"), "{missing}");
    assert!(missing.contains("\ntables: aviation_flight_masked_v1, all_of_them"), "{missing}");
    assert!(ask("SELECT * FROM writes").is_err());
}
