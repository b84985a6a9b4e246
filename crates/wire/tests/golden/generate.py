"""Writes fastavro-null.avro and fastavro-deflate.avro: 24 records, one a block, from a fixed seed.

    pip install fastavro==1.13.1 && python generate.py
"""

import datetime as dt
import decimal
import json
import pathlib
import random
import uuid

import fastavro

HERE = pathlib.Path(__file__).parent
SCHEMA = fastavro.parse_schema(json.loads((HERE / "golden.avsc").read_text()))
LONGS = [0, -1, 1, 63, 64, -64, -65, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]
TEXTS = ["", "a", "plain text", "naïve café", "日本語", "🦀" * 9, "x" * 70]
EPOCH = dt.datetime(1970, 1, 1)


def record(r: random.Random, n: int) -> dict:
    text = lambda: r.choice(TEXTS)
    blob = lambda size: bytes(r.randrange(256) for _ in range(size))
    nested = lambda: {"suit": r.choice(["SPADES", "CLUBS"]), "scores": {text(): r.uniform(-1, 1) for _ in range(r.randrange(3))}}
    chain = None
    for _ in range(r.randrange(5)):
        chain = {"value": text(), "next": chain}
    moment = lambda: EPOCH + dt.timedelta(milliseconds=r.randrange(-(10**12), 10**12))
    return {
        "boolean": bool(n % 2),
        "int": r.choice([v for v in LONGS if -(2**31) <= v < 2**31]),
        "long": r.choice(LONGS),
        "float": r.randrange(-1000, 1000) / 4,
        "double": r.uniform(-1e9, 1e9),
        "bytes": blob(r.randrange(40)),
        "string": text(),
        "fixed": blob(5),
        "enum": r.choice(["SPADES", "HEARTS", "DIAMONDS", "CLUBS"]),
        "optional": r.choice([None, text()]),
        "optional_last": r.choice([None, 5]),
        "union": [None, True, 2**40, "s", ("sluice.golden.Five", blob(5)), [1.5, -2.5], {"k": b"v"}][n % 7],
        "array": [r.choice(LONGS) for _ in range(r.randrange(6))],
        "nulls": [None] * r.randrange(4),
        "map": {text(): [r.choice([None, text()]) for _ in range(r.randrange(3))] for _ in range(r.randrange(3))},
        "nested": nested(),
        "list": chain,
        "items": [nested() for _ in range(r.randrange(4))],
        "decimal_bytes": decimal.Decimal(r.randrange(-(10**11), 10**11)).scaleb(-3),
        "decimal_fixed": decimal.Decimal(r.randrange(-(10**14), 10**14)).scaleb(-2),
        "uuid": uuid.UUID(int=r.getrandbits(128)),
        "date": moment().date(),
        "time_millis": dt.time(r.randrange(24), r.randrange(60), r.randrange(60), 1000 * r.randrange(1000)),
        "time_micros": dt.time(r.randrange(24), r.randrange(60), r.randrange(60), r.randrange(10**6)),
        "timestamp_millis": moment().replace(tzinfo=dt.timezone.utc),
        "timestamp_micros": moment().replace(tzinfo=dt.timezone.utc),
        "local_timestamp_millis": moment(),
        "local_timestamp_micros": moment(),
        "duration": blob(12),
    }


for codec in ("null", "deflate"):
    r = random.Random(7)
    with open(HERE / f"fastavro-{codec}.avro", "wb") as out:
        # An interval of one byte ends a block after each record.
        fastavro.writer(out, SCHEMA, [record(r, n) for n in range(24)], codec=codec, sync_interval=1, sync_marker=b"sluicegate-sync!")
