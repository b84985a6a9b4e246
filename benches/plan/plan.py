"""How long `sluice plan` takes for many contracts: one JSON line per figure.

The contracts are copies of an example under other names, with a view over each tenth. Kafka and registry are real
(`sluice up`). First against an empty world; with --applied, `sluice apply` then makes the world, and `plan` looks at
all of it again.

    plan.py <sluice> <schemas> [--contracts 500] [--applied]
"""

import argparse
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

LIMIT = 10.0  # seconds, for 500 contracts


def contracts(schemas, out, count):
    """Copies of metering/account-profile under names of their own."""
    source = schemas / "metering" / "account-profile"
    for number in range(count):
        name = f"account-profile-{number}"
        folder = out / "metering" / name
        folder.mkdir(parents=True)
        for file in ("value.avsc", "contract.odcs.yaml"):
            text = (source / file).read_text().replace("account-profile", name)
            (folder / file).write_text(text.replace("{cleanup: compact}", "{cleanup: compact, partitions: 1}"))
    views = out / "metering" / "views"
    views.mkdir()
    for number in range(0, count, 10):
        table = f"metering_account_profile_{number}_masked_v1"
        sql = f"SELECT tariff, count(*) AS accounts FROM {table} GROUP BY tariff\n"
        (views / f"tariffs_{number}.sql").write_text(sql)


def figure(name, value):
    line = {"name": name, "value": round(value, 2), "unit": "s"}
    if name.startswith("plan."):
        line |= {"peer": "limit for 500 contracts", "peer_value": LIMIT}
    print(json.dumps(line), flush=True)


def timed(*command, codes):
    begin = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=900)
    if done.returncode not in codes:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}")
    return time.monotonic() - begin, done.stdout.decode()


def main():
    args = argparse.ArgumentParser()
    args.add_argument("sluice")
    args.add_argument("schemas", type=pathlib.Path)
    args.add_argument("--contracts", type=int, default=500)
    args.add_argument("--applied", action="store_true")
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        contracts(args.schemas, folder / "schemas", args.contracts)
        up = subprocess.Popen([args.sluice, "up"], stdout=subprocess.PIPE, text=True)
        try:
            said = {}
            while "data" not in said:
                word, value = re.split(r"\s+", up.stdout.readline().strip(), maxsplit=1)
                said[word] = value
            config = folder / "apply.yaml"
            config.write_text(
                f'kafka: {{brokers: "{said["brokers"]}"}}\nregistry: {{url: "{said["registry"]}"}}\n'
                f"schemas: {folder / 'schemas'}\n"
            )
            name = f"plan.{args.contracts}"
            proof, _ = timed(args.sluice, "plan", "--proof", "-c", config, codes=[0])
            figure(f"{name}.proof", proof)
            empty, text = timed(args.sluice, "plan", "--output", "json", "-c", config, codes=[2])
            assert len(json.loads(text)["changes"]) == 1 + args.contracts * 8, "topics, levels and schemas of each, and receipts"
            figure(f"{name}.empty_world", empty)
            if args.applied:
                took, _ = timed(args.sluice, "apply", "--output", "json", "-c", config, codes=[0])
                figure(f"apply.{args.contracts}", took)
                full, text = timed(args.sluice, "plan", "--output", "json", "-c", config, codes=[0])
                assert not json.loads(text)["changes"], "everything is there"
                figure(f"{name}.applied_world", full)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(timeout=60)


main()
