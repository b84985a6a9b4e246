//! `sluice sql` on a lake of an earlier build: no server is needed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use sluice_tests::binary;
use sluice_tests::command::{TestCommandOutput, sluice};

const LAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/former/lake");
const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");
const TABLE: &str = "aviation_aircraft_masked_v1";

/// Runs `sluice sql <args>` on the lake.
fn sql(args: &[&str]) -> TestCommandOutput {
    sluice(["sql", "--lake", LAKE, "--schemas", SCHEMAS].iter().chain(args))
}

/// Runs `sluice sql` on the lake with statements on standard input.
fn sql_file(statements: &str) -> TestCommandOutput {
    let mut command = Command::new(binary());
    command.args(["sql", "--lake", LAKE, "--schemas", SCHEMAS]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(statements.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    TestCommandOutput {
        code: ended.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&ended.stdout).into_owned(),
        err: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

#[test]
fn tables_are_listed_and_described_and_rows_are_counted() {
    let tables = sql(&["SHOW TABLES"]);
    assert_eq!(tables.code, 0, "{tables:?}");
    assert!(tables.out.contains(TABLE) && tables.out.contains("aviation.aircraft.masked.v1"), "{tables:?}");
    assert!(tables.out.contains("| view "), "views of the contracts: {tables:?}");

    let columns = sql(&["--output", "json", &format!("describe {TABLE};")]).json();
    assert_eq!(columns[0]["column"], "tailnum", "{columns}");
    let quoted = sql(&["--output", "json", "DESC \"aviation.aircraft.masked.v1\""]).json();
    assert_eq!(columns, quoted);
    let rows = sql(&[&format!("select tailnum from {TABLE} limit 3")]);
    assert!(rows.out.ends_with("(3 rows)\n"), "{rows:?}");
}

#[test]
fn a_mistake_is_shown_below_its_place_with_the_name_that_was_meant() {
    for (statement, caret, hint) in [
        (
            "select engins from aviation_aircraft_masked_v1",
            " 1 | select engins from aviation_aircraft_masked_v1\n   |        ^",
            "did you mean `engines`?",
        ),
        (
            "select engines\nfrom aviation_aircraft_maskd_v1",
            " 2 | from aviation_aircraft_maskd_v1\n   |      ^",
            "did you mean `aviation_aircraft_masked_v1`?",
        ),
        ("select engines form aviation_aircraft_masked_v1", "\n   |                     ^", "found"),
        ("select 1 +", " 1 | select 1 +\n   |           ^", "Expected"),
        ("select 'open", "\n   |        ^", "Unterminated"),
        ("select uper(model) from aviation_aircraft_masked_v1", "\n   |        ^", "upper"),
        ("describe aviation_aircraft", "\n   |          ^", "tables: "),
        ("drop table aviation_aircraft_masked_v1", "", "DDL"),
        ("select 1/0", "", "Divide by zero"),
    ] {
        let wrong = sql(&[statement]);
        assert_eq!((wrong.code, wrong.out.as_str()), (1, ""), "{statement}: {wrong:?}");
        assert!(wrong.err.contains(caret) && wrong.err.contains(hint), "{statement}: {}", wrong.err);
        assert!(!wrong.err.contains("Error during planning"), "{}", wrong.err);
    }
    let lake = sluice(["sql", "--lake", "/no/such/lake", "select 1"]);
    assert!(lake.code == 64 && lake.err.contains("/no/such/lake"), "{lake:?}");
}

#[test]
fn statements_of_a_file_are_answered_up_to_the_first_mistake() {
    let answers = sql_file(&format!("-- two\nselect 'a;b' as x;\nselect count(*) as n\nfrom {TABLE}"));
    assert_eq!(answers.code, 0, "{answers:?}");
    assert!(answers.out.contains("| a;b |") && answers.out.matches("(1 row)").count() == 2, "{answers:?}");
    let wrong = sql_file("select 1; select nope; select 2;");
    assert!(wrong.code == 1 && wrong.out.contains("| 1 ") && !wrong.out.contains("| 2 "), "{wrong:?}");
}

#[test]
fn an_answer_goes_to_a_new_parquet_file_and_overwrites_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("aircraft.parquet");
    let to = file.to_str().unwrap();
    let all = format!("select *, interval '1 day' as span from {TABLE} order by tailnum");
    let written = sql(&["--output", "parquet", "--to", to, &all]);
    assert_eq!((written.code, written.out.as_str()), (0, ""), "{written:?}");

    let opened = std::fs::File::open(&file).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(opened, 1024).unwrap();
    let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    let counted = sql(&["--output", "json", &format!("select count(*) as n from {TABLE}")]).json();
    assert_eq!(counted[0]["n"], rows);

    let again = sql(&["--output", "parquet", "--to", to, &all]);
    assert!(again.code == 64 && again.err.contains("does not exist yet"), "{again:?}");
    assert_eq!(sql(&["--output", "parquet", &all]).code, 64, "clap asks for the file");
}

#[test]
fn any_value_is_valid_json_and_a_closed_pipe_is_a_quiet_end() {
    let odd = "select arrow_cast(9223372036854775807, 'Timestamp(Microsecond, Some(\"UTC\"))') as t, interval '1 month' as i, \
        [1, null] as l, cast('NaN' as double) as nan, 'a\"\u{7}' as s, 1 as x, 2 as \"X\"";
    let answer = sql(&["--output", "json", odd]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.json()[0]["s"], "a\"\u{7}");

    let mut command = Command::new(binary());
    command.args(["sql", "--lake", LAKE, "--output", "csv"]);
    command.arg(format!("select a.* from {TABLE} a cross join (select engines from {TABLE} limit 50) b"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}
