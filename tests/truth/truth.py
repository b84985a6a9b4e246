"""The demo's results against the data set, by other people's code: DuckDB over the CSV, deltalake over the lake,
fastavro over the archive, HMAC from Python's own library.

Usage: truth.py <demo's folder> <folder with flights.csv[.gz] and planes.csv[.gz]> [months]

Prints every check; exits 1 if one does not hold.
"""

import base64
import collections
import hashlib
import hmac
import json
import pathlib
import sys

import duckdb
import fastavro
from deltalake import DeltaTable

FLIGHTS = "aviation.flight.masked.v1"
AIRCRAFT = "aviation.aircraft.masked.v1"
FACTS = "aviation.flight.facts.v1"
ATTRIBUTES = ["tailnum", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]

failed = 0


def check(name, expected, actual):
    global failed
    if expected == actual:
        print(f"  ok   {name}" + (f": {actual}" if isinstance(actual, (int, str)) else ""))
        return
    failed += 1
    print(f"  NOT  {name}")
    if isinstance(expected, dict) and isinstance(actual, dict):
        differing = [key for key in expected.keys() | actual.keys() if expected.get(key) != actual.get(key)]
        for key in differing[:5]:
            print(f"         {key}: expected {expected.get(key)}, is {actual.get(key)}")
    else:
        print(f"         expected {expected!r}, is {actual!r}"[:400])


def pseudonym(key: bytes, text: str) -> str:
    """What the policy {op: hmac, key: pseudonym, domain: tailnum} makes of a tail number in epoch 1."""
    digest = hmac.new(key, b"tailnum\x00" + text.encode(), hashlib.sha256).digest()
    return "1:" + base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def table(data: pathlib.Path, name: str) -> str:
    plain = data / f"{name}.csv"
    return str(plain if plain.exists() else data / f"{name}.csv.gz")


def check_lake(db, demo, masked):
    """Counts and sums of the Delta tables; the CSV is in the views flights and planes."""
    for view, topic in (("lake_flights", FLIGHTS), ("lake_aircraft", AIRCRAFT), ("lake_facts", FACTS)):
        db.register(view, DeltaTable(str(demo / "lake" / topic)).to_pyarrow_dataset())
    one = lambda sql: db.sql(sql).fetchall()[0][0]
    groups = lambda sql: {row[0]: row[1:] for row in db.sql(sql).fetchall()}

    check("flights", one("SELECT count(*) FROM flights"), one("SELECT count(*) FROM lake_flights"))
    check("aircraft", one("SELECT count(*) FROM planes"), one("SELECT count(*) FROM lake_aircraft"))
    by_carrier = "SELECT carrier, count(*), sum(distance)::BIGINT FROM {} GROUP BY 1"
    check("flights and distance by carrier", groups(by_carrier.format("flights")), groups(by_carrier.format("lake_flights")))
    # Exact: whole minutes and counts; the mean is their quotient.
    by_maker = (
        "SELECT a.manufacturer, count(f.arr_delay), sum(f.arr_delay)::BIGINT, round(avg(f.arr_delay), 9) "
        "FROM {} f JOIN {} a ON f.tailnum = a.tailnum GROUP BY 1"
    )
    check(
        "mean arrival delay by manufacturer, through the masked join",
        groups(by_maker.format("flights", "planes")),
        groups(by_maker.format("lake_flights", "lake_aircraft")),
    )
    counts = {name: (one(f"SELECT count({name}) FROM flights"),) for name in ATTRIBUTES}
    check("facts by attribute", counts, groups("SELECT attribute, count(*) FROM lake_facts GROUP BY 1"))
    check("facts twice", 0, one("SELECT count(*) - count(DISTINCT fact_id) FROM lake_facts"))
    for view in ("lake_flights", "lake_aircraft", "lake_facts"):
        twice = one(f"SELECT count(*) - count(DISTINCT (_kafka_topic, _kafka_partition, _kafka_offset)) FROM {view}")
        check(f"records twice in {view}", 0, twice)
    delays = "SELECT value::BIGINT, count(*) FROM lake_facts WHERE attribute = 'arr_delay' GROUP BY 1"
    check(
        "facts: how often each arrival delay occurs",
        groups("SELECT arr_delay, count(*) FROM flights WHERE arr_delay IS NOT NULL GROUP BY 1"),
        groups(delays),
    )

    of_lake = lambda view: {row[0] for row in db.sql(f"SELECT DISTINCT tailnum FROM {view}").fetchall()}
    check("pseudonyms of flights, computed again", set(masked.values()), of_lake("lake_flights"))
    planes = {masked[row[0]] for row in db.sql("SELECT tailnum FROM planes").fetchall()}
    check("pseudonyms of aircraft, computed again", planes, of_lake("lake_aircraft"))
    per_tail = {masked[tail]: n for tail, n in db.sql("SELECT tailnum, count(*) FROM flights GROUP BY 1").fetchall()}
    per_mask = dict(db.sql("SELECT tailnum, count(*) FROM lake_flights GROUP BY 1").fetchall())
    check("flights of every aircraft", per_tail, per_mask)
    columns = {field.name for field in DeltaTable(str(demo / "lake" / AIRCRAFT)).schema().fields}
    check("the dropped column is not there", False, "speed" in columns)
    off_step = one("SELECT count(*) FROM lake_aircraft WHERE seats % 50 <> 0")
    check("seats that are not in steps of 50", 0, off_step)


def check_archive(db, demo, raw):
    """Every Avro object read with fastavro: as many records as rows in the lake, and no raw tail number in any text."""
    rows = {topic: db.sql(f"SELECT count(*) FROM {view}").fetchall()[0][0]
            for topic, view in ((FLIGHTS, "lake_flights"), (AIRCRAFT, "lake_aircraft"), (FACTS, "lake_facts"))}
    seen, leaks, distance = collections.Counter(), 0, 0
    positions = set()
    for file in sorted((demo / "archive").rglob("*.avro")):
        with file.open("rb") as stream:
            for record in fastavro.reader(stream):
                topic = record["_kafka_topic"]
                seen[topic] += 1
                positions.add((topic, record["_kafka_partition"], record["_kafka_offset"]))
                distance += record.get("distance", 0)
                leaks += any(value in raw for value in record.values() if isinstance(value, str))
    check("archive: records by topic", rows, dict(seen))
    check("archive: positions that differ", sum(seen.values()), len(positions))
    check("archive: sum of distance", db.sql("SELECT sum(distance)::BIGINT FROM flights").fetchall()[0][0], distance)
    check("archive: records with a raw tail number", 0, leaks)


def check_leaks(db, demo, raw):
    """No raw tail number in any text of the lake, nor in any log, nor in the names of files."""
    for view in ("lake_flights", "lake_aircraft", "lake_facts"):
        leaks = 0
        for name, kind, *_ in db.sql(f"DESCRIBE {view}").fetchall():
            if kind == "VARCHAR":
                values = db.sql(f'SELECT DISTINCT "{name}" FROM {view}').fetchall()
                leaks += sum(1 for (value,) in values if value is not None and any(part in raw for part in value.replace("/", " ").split()))
        check(f"raw tail numbers in {view}", 0, leaks)
    needles = [tail.encode() for tail in raw]
    for folder in ("logs", "lake", "archive"):
        found = 0
        for file in (demo / folder).rglob("*"):
            if file.is_file():
                text = file.read_bytes() if file.suffix in (".log", ".json", ".crc") else b""
                words = set(text.replace(b'"', b" ").replace(b"/", b" ").replace(b",", b" ").split()) if text else set()
                found += sum(1 for needle in needles if needle in words) + (file.stem in raw)
        check(f"raw tail numbers in {folder}, as text", 0, found)


def main(demo: str, data: str, months: str = "12") -> int:
    demo, data = pathlib.Path(demo), pathlib.Path(data)
    db = duckdb.connect()
    db.sql("SET TimeZone = 'UTC'")
    for name in ("flights", "planes"):
        db.sql(f"CREATE TABLE all_{name} AS SELECT * FROM read_csv('{table(data, name)}', nullstr = 'NA', sample_size = -1)")
    db.sql(f"CREATE VIEW flights AS SELECT * FROM all_flights WHERE tailnum IS NOT NULL AND month <= {int(months)}")
    db.sql("CREATE VIEW planes AS SELECT * FROM all_planes WHERE tailnum IN (SELECT tailnum FROM flights)")
    raw = {row[0] for row in db.sql("SELECT DISTINCT tailnum FROM flights").fetchall()}
    key = base64.b64decode((demo / "secrets" / "pseudonym.1.key").read_text().strip())
    masked = {tail: pseudonym(key, tail) for tail in raw}

    print(f"{demo} against {data}:")
    check_lake(db, demo, masked)
    check_archive(db, demo, raw)
    check_leaks(db, demo, raw)
    report = json.loads((demo / "report.json").read_text())
    check("the demo's own report", True, report["ok"])
    print("all holds" if not failed else f"{failed} checks do not hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
