"""The workers' files that the chart writes, against the JSON schemas of the workers' configuration; in both directions.

  values SCHEMAS OUT            writes OUT/<worker>-<n>.yaml: values that use every key of the worker's schema
  check SCHEMAS RENDERED...     every worker file in RENDERED (manifests of `helm template`) fits its schema
  covered SCHEMAS RENDERED...   every key of every schema, and every form of it, is in at least one worker file
  accepted SCHEMAS SLUICE CONTRACTS RENDERED...   each worker starts with its file: what a schema cannot say is right too
  agreed SCHEMAS SLUICE CONTRACTS RENDERED...   a mistake in a file is refused by the binary if and only if the values' schema
                                refuses it: an unknown key in each section, a wrong type of each value

SCHEMAS holds <worker>.json as `sluice config-schema <worker>` prints it. Exit 1 with every mistake.
"""

import base64
import concurrent.futures
import contextlib
import copy
import functools
import itertools
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import jsonschema
import yaml

FRAME = json.loads((pathlib.Path(__file__).parent / "sluicegate" / "values.frame.json").read_text())
# Texts for the patterns that the workers' schemas know.
TEXTS = ["text", "64MiB", "1"]


def read_schemas(folder: str) -> dict:
    """Worker → JSON schema of its configuration."""
    return {worker: json.loads(pathlib.Path(folder, f"{worker}.json").read_text()) for worker in FRAME["workers"]}


def worker_files(paths: list[str]):
    """Each worker's file in the manifests: (manifests, component, worker, file)."""
    for path in map(pathlib.Path, paths):
        for manifest in yaml.safe_load_all(path.read_text()):
            if not manifest or manifest["kind"] != "ConfigMap" or "worker.yaml" not in manifest["data"]:
                continue
            component = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
            yield path.name, component, component.split("-")[0], yaml.safe_load(manifest["data"]["worker.yaml"])


# ---- values that use every key --------------------------------------------------------------------------


def text_for(schema: dict) -> str:
    """A text that the schema accepts."""
    for text in TEXTS:
        if re.search(schema.get("pattern", ""), text):
            return text
    sys.exit(f"helm: no sample text for the pattern {schema['pattern']}: add one to TEXTS in check_worker_files.py")


def samples(schema) -> list:
    """Values that together use every key and every form of the schema."""
    if schema is True or not schema:
        return [{"any": ["thing", 1, True]}]
    for word in ("oneOf", "anyOf"):
        if word in schema:
            return list(itertools.chain.from_iterable(samples(form) for form in schema[word]))
    if "const" in schema:
        return [schema["const"]]
    if "enum" in schema:
        return [value for value in schema["enum"] if value is not None]

    kinds = schema.get("type", "object")
    kind = next(kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null" or kinds == "null")
    match kind:
        case "null":
            return []
        case "string":
            return [text_for(schema)]
        case "integer" | "number":
            return [max(schema.get("minimum", 1), min(schema.get("maximum", 1), 1))]
        case "boolean":
            return [True]
        case "array":
            return [samples(schema.get("items", {}))]
    return object_samples(schema)


def object_samples(schema: dict) -> list:
    """Objects with all their keys, as many as the key with the most forms needs."""
    of_key = {key: samples(part) for key, part in schema.get("properties", {}).items()}
    of_key = {key: values for key, values in of_key.items() if values}
    for pattern, part in schema.get("patternProperties", {}).items():
        key = next(text for text in TEXTS if re.search(pattern, text))
        of_key[key] = samples(part)
    if isinstance(more := schema.get("additionalProperties"), dict):
        of_key |= {f"key-{n}": [value] for n, value in enumerate(samples(more))}
    count = max(map(len, of_key.values()), default=1)
    return [{key: values[n % len(values)] for key, values in of_key.items()} for n in range(count)]


def without_written(file: dict) -> dict:
    """The file without the keys that the chart writes by itself."""
    for path in FRAME["written"]:
        *parents, last = path.split(".")
        at = file
        for key in parents:
            at = at.get(key, {})
        at.pop(last, None)
        if parents and not file.get(parents[0]):
            file.pop(parents[0], None)
    return file


def write_values(schemas: dict, out: pathlib.Path) -> None:
    """One values file for each sample of each worker's file."""
    for worker, facts in FRAME["workers"].items():
        files = [without_written(file) for file in samples(schemas[worker])]
        for n, file in enumerate(files):
            values = {name: {"enabled": False} for name in ("masker", "normaliser", "sink") if name != worker}
            values |= {section: {"brokers": "b:9092"} if section == "kafka" else {"url": "http://r"} for section in FRAME["sections"]}
            values["contracts"] = {"imagePath": "/contracts"}
            # An entry of the map and the single key are written by turns.
            many = facts.get("many") if n % 2 == 0 or not facts.get("alone") else None
            values[many or facts["defaults"]] = {"every": {"config": file}} if many else {"enabled": True, "config": file}
            if worker == "sink" and many:
                values[facts["defaults"]] = {"config": {"stores": []}}
            (out / f"every-{worker}-{n}.yaml").write_text(json.dumps(values))


# ---- the two directions ---------------------------------------------------------------------------------


def check(schemas: dict, paths: list[str]) -> int:
    """Every worker file fits its schema."""
    checked, wrong = 0, 0
    for name, component, worker, file in worker_files(paths):
        checked += 1
        for error in jsonschema.Draft202012Validator(schemas[worker]).iter_errors(file):
            wrong += 1
            print(f"helm: {name}: {component}: {error.json_path}: {error.message}", file=sys.stderr)
    print(f"helm: {checked} workers' files compared with their schemas, {wrong} mistakes")
    return 1 if wrong or not checked else 0


def places(schema, at: str = "") -> set:
    """Every key and form of a schema: `kafka.brokers`, `api.auth|2.oauth2.scope`."""
    if not isinstance(schema, dict):
        return set()
    found = set()
    for word in ("oneOf", "anyOf"):
        for n, form in enumerate(schema.get(word, [])):
            if form.get("type") != "null":
                found |= {f"{at}|{n}"} | places(form, f"{at}|{n}")
    for key, part in schema.get("properties", {}).items():
        found |= {f"{at}.{key}"} | places(part, f"{at}.{key}")
    for part in [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]:
        found |= places(part, f"{at}.*")
    return found | places(schema.get("items"), f"{at}[]")


def used(schema, value, at: str = "") -> set:
    """The places of the schema that a value uses."""
    if not isinstance(schema, dict):
        return set()
    found = set()
    for word in ("oneOf", "anyOf"):
        for n, form in enumerate(schema.get(word, [])):
            if form.get("type") != "null" and jsonschema.Draft202012Validator(form).is_valid(value):
                found |= {f"{at}|{n}"} | used(form, value, f"{at}|{n}")
    if isinstance(value, list):
        return found.union(*(used(schema.get("items"), part, f"{at}[]") for part in value))
    if not isinstance(value, dict):
        return found
    for key, part in value.items():
        if key in schema.get("properties", {}):
            found |= {f"{at}.{key}"} | used(schema["properties"][key], part, f"{at}.{key}")
            continue
        for more in [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]:
            found |= used(more, part, f"{at}.*")
    return found


def covered(schemas: dict, paths: list[str]) -> int:
    """Every place of every schema is used by some worker file."""
    seen: dict = {worker: set() for worker in schemas}
    for _, _, worker, file in worker_files(paths):
        seen[worker] |= used(schemas[worker], file)
    missing = 0
    for worker, schema in schemas.items():
        for place in sorted(places(schema) - seen[worker]):
            missing += 1
            print(f"helm: {worker}: the chart cannot write {place.removeprefix('.')}", file=sys.stderr)
    total = sum(len(places(schema)) for schema in schemas.values())
    print(f"helm: {total} keys and forms of the workers' schemas, {missing} of which the chart cannot write")
    return 1 if missing or not total else 0


# ---- by the binary itself -------------------------------------------------------------------------------

# Neighbours that refuse at once: the worker gets as far as it can without any.
AWAY = {"kafka": "127.0.0.1:1", "registry": "127.0.0.1:1"}
# Seconds to be up, or to end.
PATIENCE = 30
# Seconds that a worker stays up whose file is right.
SETTLED = 1
# Workers at a time: they wait most of it.
AT_ONCE = 6
# A worker whose file is right ends so when a neighbour is away; see the table of exit codes.
NEIGHBOUR_AWAY = 75


@functools.cache
def certificate() -> dict:
    """A certificate that signs itself, and its key, by the ending of a file's name."""
    with tempfile.TemporaryDirectory() as name:
        key, crt = pathlib.Path(name, "key"), pathlib.Path(name, "crt")
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost"]
        subprocess.run([*make, "-keyout", key, "-out", crt], check=True, capture_output=True)
        return {".key": key.read_text(), ".crt": crt.read_text()}


def secret_text(name: str) -> str:
    """What a secret of this name may hold: a certificate, its key, a database's URL, or 32 bytes in base64."""
    if name.endswith((".crt", ".key")):
        return certificate()[name[-4:]]
    return "postgres://u:p@127.0.0.1:1/d" if name.endswith("-url") else base64.b64encode(os.urandom(32)).decode()


def secrets_into(value, folder: pathlib.Path) -> None:
    """Points each {file: path} to a file that is there."""
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        secrets_into(part, folder)
    if isinstance(value, dict) and list(value) == ["file"]:
        file = folder / value["file"].strip("/").replace("/", "-")
        file.write_text(secret_text(file.name))
        value["file"] = str(file)


def contracts_of(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path | None:
    """The contracts that the manifests hold, in a folder as a ConfigMap is mounted; None if they hold none."""
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest and manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"].endswith("-contracts"):
            mounted = folder / "schemas"
            mounted.mkdir()
            for name, text in manifest["data"].items():
                (mounted / name).write_text(text)
            return mounted
    return None


def start_with(sluice: str, worker: str, file: dict, folder: pathlib.Path) -> str | None:
    """Starts a worker with its file until its admin pages answer, or it ends. Returns its output if it refuses the file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if "admin" in file:
        file["admin"]["listen"] = f"127.0.0.1:{port}"
    path, log = folder / "worker.yaml", folder / "log"
    path.write_text(yaml.safe_dump(file))
    with log.open("w") as out:
        process = subprocess.Popen([sluice, *FRAME["workers"][worker]["args"], "-c", path], stdout=out, stderr=out, env={**os.environ, "SLUICE_RACK": ""})
    end, up = time.monotonic() + PATIENCE, False
    try:
        while time.monotonic() < end:
            if process.poll() is not None:
                return None if process.returncode == NEIGHBOUR_AWAY else f"exit code {process.returncode}: {log.read_text()}"
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1).close()
                # What is checked after the pages are up, the contracts of a collector, is checked at once.
                end = min(end, time.monotonic() + SETTLED)
                up = True
            time.sleep(0.05)
        if up:
            return None
        return f"neither up nor ended after {PATIENCE} seconds: {log.read_text()}"
    finally:
        process.kill()
        process.wait()


def accept(sluice: str, contracts: str, path: str, worker: str, file: dict, mistake: tuple | None = None) -> str | None:
    """Starts one worker with secrets that are there and neighbours that are not. Makes the mistake last."""
    file = copy.deepcopy(file)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        secrets_into(file, folder)
        file["schemas"] = str(contracts_of(pathlib.Path(path), folder) or contracts)
        scheme = file["registry"]["url"].split(":")[0]
        file["kafka"]["brokers"], file["registry"]["url"] = AWAY["kafka"], f"{scheme}://{AWAY['registry']}"
        # A CA file that a property names is not there, and nobody is asked for a certificate.
        file["kafka"].get("properties", {}).pop("ssl.ca.location", None)
        for store in file.get("stores", []):
            [section] = store.values()
            section["path"] = name + section["path"]
        if mistake:
            file = with_mistake(file, *mistake)
        return start_with(sluice, worker, file, folder)


def accepted(sluice: str, contracts: str, paths: list[str]) -> int:
    """Every worker file is accepted by the binary."""
    found = [(path, *rest) for path in paths for rest in worker_files([path])]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        whys = list(pool.map(lambda one: accept(sluice, contracts, one[0], one[3], one[4]), found))
    for (_, name, component, *_), why in zip(found, whys):
        if why:
            print(f"helm: {name}: {component} does not accept its file: {why}", file=sys.stderr)
    refused = len(whys) - whys.count(None)
    print(f"helm: {len(whys)} workers started with their files, {refused} refused")
    return 1 if refused or not whys else 0


# ---- mistakes -------------------------------------------------------------------------------------------

# What no schema can say: the names of librdkafka's properties, and that the body of a request has the id somewhere.
FREE = re.compile(r"kafka\.properties|endpoints\.\d+\.body\b")
VALUES = json.loads((pathlib.Path(__file__).parent / "sluicegate" / "values.schema.json").read_text())


def places_of(value, at: tuple = ()):
    """The paths of a file's maps and of its other values: (path, is a map)."""
    if isinstance(value, dict):
        yield at, True
        for key, part in value.items():
            yield from places_of(part, (*at, key))
    elif isinstance(value, list):
        for n, part in enumerate(value):
            yield from places_of(part, (*at, n))
    else:
        yield at, False


def with_mistake(file: dict, path: tuple, is_map: bool) -> dict:
    """The file with an unknown key in a map, or a map in place of another value."""
    wrong = copy.deepcopy(file)
    at = wrong
    for key in path if is_map else path[:-1]:
        at = at[key]
    if is_map:
        at["colour"] = "red"
    else:
        at[path[-1]] = {"colour": "red"}
    return wrong


def accepted_by_schema(worker: str, file: dict) -> bool:
    """Whether the values' schema accepts the file as the worker's `config`."""
    values = {FRAME["workers"][worker]["defaults"]: {"config": file}}
    return jsonschema.Draft7Validator(VALUES).is_valid(values)


def agreed(sluice: str, contracts: str, paths: list[str]) -> int:
    """Binary and schema agree about every mistake in the largest file of each worker."""
    largest: dict = {}
    for path in paths:
        for _, _, worker, file in worker_files([path]):
            if len(str(file)) > len(str(largest.get(worker, (path, ""))[1])):
                largest[worker] = (path, file)
    tries = [
        (path, worker, file, mistake)
        for worker, (path, file) in largest.items()
        for mistake in places_of(without_written(copy.deepcopy(file)))
    ]
    schema = [accepted_by_schema(worker, with_mistake(without_written(copy.deepcopy(file)), *mistake)) for _, worker, file, mistake in tries]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        binary = [why is None for why in pool.map(lambda one: accept(sluice, contracts, *one), tries)]
    differ = 0
    for (_, worker, _, (place, _)), by_schema, by_binary in zip(tries, schema, binary):
        if by_schema != by_binary and not (by_schema and FREE.match(".".join(map(str, place)))):
            differ += 1
            which = ("the values' schema accepts it, the binary does not", "the binary accepts it, the values' schema does not")[by_binary]
            print(f"helm: {worker}: a mistake at {'.'.join(map(str, place)) or 'the top'}: {which}", file=sys.stderr)
    print(f"helm: {len(tries)} mistakes in workers' files, {schema.count(False)} refused by the values' schema, {differ} not by both")
    return 1 if differ or all(schema) else 0


def main() -> int:
    command, folder, *rest = sys.argv[1:]
    schemas = read_schemas(folder)
    match command:
        case "values":
            write_values(schemas, pathlib.Path(rest[0]))
            return 0
        case "check":
            return check(schemas, rest)
        case "covered":
            return covered(schemas, rest)
        case "accepted":
            return accepted(rest[0], rest[1], rest[2:])
        case "agreed":
            return agreed(rest[0], rest[1], rest[2:])
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main())
