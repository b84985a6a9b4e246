#!/usr/bin/env python3
"""Writes the chart's values.schema.json from the workers' own types.

The workers' schemas come from `sluice config-schema <worker>`. The rest (image, pods, monitoring …) is written by hand
in sluicegate/values.frame.json. The result is two files of the chart:

  values.schema.json   what Helm and editors check values with
  files/workers.json   what the templates know of each worker: kinds, arguments, keys, and which keys it needs

Usage: generate_values_schema.py (--sluice PATH | --schemas DIR) [--check]
  --sluice PATH   the binary, which is asked for each worker's schema
  --schemas DIR   a folder with <worker>.json instead
  --check         writes nothing; exit 1 if a file differs from what would be written
"""

import argparse
import copy
import difflib
import json
import pathlib
import subprocess
import sys

CHART = pathlib.Path(__file__).parent / "sluicegate"
FRAME = CHART / "values.frame.json"
# Keywords that Helm's validator and the workers do not need.
NOISE = ("$schema", "title", "format")
# A file of this many characters per line is still easy to compare.
WIDTH = 120


def read_frame() -> dict:
    """The hand-written half."""
    return json.loads(FRAME.read_text())


def read_schemas(frame: dict, sluice: str | None, folder: str | None) -> dict:
    """Worker → JSON schema of its configuration, for every worker that the frame names."""
    schemas = {}
    for worker in frame["workers"]:
        if folder:
            text = pathlib.Path(folder, f"{worker}.json").read_text()
        else:
            asked = subprocess.run([sluice, "config-schema", worker], capture_output=True, text=True)
            if asked.returncode != 0:
                sys.exit(f"helm: {sluice} config-schema {worker} ended with {asked.returncode}: {asked.stderr.strip()}")
            text = asked.stdout
        schemas[worker] = json.loads(text)
    return schemas


# ---- one worker's schema, made fit for values ----------------------------------------------------------


def is_object(form: dict) -> bool:
    return form.get("type") == "object" and "properties" in form


def tag_of(forms: list) -> str | None:
    """The key that tells the forms apart, if each has it with a text of its own: `kind`."""
    keys = [{key for key, part in form["properties"].items() if "const" in part} for form in forms]
    shared = set.intersection(*keys)
    return min(shared) if shared else None


def join_forms(schema: dict) -> dict:
    """One of several forms, written so that a mistake is reported once and at its place, not once for each form.

    Texts become an `enum`; {a: …} or {b: …} one object that has one of these keys; forms that a key such as `kind` tells
    apart a condition on that key.
    """
    forms = schema.get("oneOf", [])
    if not forms:
        return schema
    rest = {key: part for key, part in schema.items() if key != "oneOf"}
    if all("const" in form for form in forms):
        return {**rest, "enum": [form["const"] for form in forms]}
    if not all(is_object(form) for form in forms):
        return schema

    if all(len(form["properties"]) == 1 and form.get("required") == list(form["properties"]) for form in forms):
        keys = {}
        for form in forms:
            [(key, part)] = form["properties"].items()
            about = {"description": form["description"]} if "description" in form and "description" not in part else {}
            keys[key] = {**part, **about}
        # A secret may also be named the way that pods do it.
        if sorted(keys) == ["env", "file"]:
            keys["secretKeyRef"] = {"$ref": "#/definitions/secretKeyRef"}
        return {**rest, "type": "object", "additionalProperties": False, "minProperties": 1, "maxProperties": 1, "properties": keys}

    if tag := tag_of(forms):
        ways = []
        for form in forms:
            this = {"properties": {tag: form["properties"][tag]}, "required": [tag]}
            ways.append({"if": this, "then": form})
        tags = [form["properties"][tag]["const"] for form in forms]
        return {**rest, "type": "object", "properties": {tag: {"enum": tags}}, "required": [tag], "allOf": ways}
    return schema


def join_option(schema: dict) -> dict:
    """`anyOf: [X, null]` → X that may be null."""
    forms = schema.get("anyOf", [])
    some = [form for form in forms if form.get("type") != "null"]
    if len(forms) != 2 or len(some) != 1 or not isinstance(some[0].get("type"), str):
        return schema
    rest = {key: part for key, part in schema.items() if key != "anyOf"}
    return {**some[0], **rest, "type": [some[0]["type"], "null"]}


def tidy(schema, in_properties: bool = False):
    """The schema without noise, for draft 7, with the chart's own way to name a secret."""
    if isinstance(schema, list):
        return [tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if in_properties:
        return {key: tidy(part) for key, part in schema.items()}

    # Everything is inlined by the binary; a reference would need its definitions carried along.
    if "$ref" in schema:
        sys.exit(f"helm: a worker's schema holds a $ref ({schema['$ref']}), which the generator does not follow")
    out = {key: tidy(part, key in ("properties", "patternProperties")) for key, part in schema.items() if key not in NOISE}

    # Helm's validator names a random place for a mistake in `propertyNames`.
    names = out.pop("propertyNames", None)
    if names and "pattern" in names:
        out["patternProperties"] = {names["pattern"]: out.get("additionalProperties", {})}
        out["additionalProperties"] = False
    return join_option(join_forms(out))


def take_required(schema: dict, at: tuple = ()) -> list:
    """Takes `required` out of objects that are merged from several places (defaults, an entry, the chart); returns the paths.

    An object in a list, a map or one of several forms is given whole and keeps what it requires.
    """
    if "maxProperties" in schema or "allOf" in schema:
        return []
    paths = []
    for key in sorted(schema.pop("required", [])):
        help_text = schema["properties"][key].get("description", "")
        paths.append({"path": [*at, key], "about": help_text.split("\n\n")[0].replace("\n", " ")})
    for key, part in schema.get("properties", {}).items():
        if isinstance(part, dict):
            paths += take_required(part, (*at, key))
    return paths


def take_written(schema: dict, written: list) -> None:
    """Takes out the keys that the chart writes by itself; a section of which nothing is left goes too."""
    for path in written:
        *parents, last = path.split(".")
        chain = [schema]
        for key in parents:
            chain.append(chain[-1].get("properties", {}).get(key, {}))
        chain[-1].get("properties", {}).pop(last, None)
        for parent, key in reversed(list(zip(chain, parents))):
            if parent.get("properties", {}).get(key, {}).get("properties") == {}:
                parent["properties"].pop(key)


# ---- the whole ------------------------------------------------------------------------------------------


def entry_of(worker: str, facts: dict, frame: dict) -> dict:
    """The values of one workload of a worker."""
    properties = copy.deepcopy(frame["entry"])
    properties["config"] = {"$ref": f"#/definitions/{worker}Config"}
    for group in frame["entryByKind"]:
        if set(group["kinds"]) & set(facts["kinds"]):
            properties |= copy.deepcopy(group["properties"])
    if len(facts["kinds"]) > 1:
        properties["kind"] = {"enum": facts["kinds"]}
    if storage := facts.get("storage"):
        properties["storage"] = copy.deepcopy(frame["entryByStorage"][storage])
    return {"type": "object", "additionalProperties": False, "description": facts["about"], "properties": properties}


def add_property(schema: dict, key: str, part: dict) -> None:
    """Adds a key that must not be there yet."""
    if key in schema["properties"]:
        sys.exit(f"helm: `{key}` is both in values.frame.json and in a worker's schema; remove it from the frame")
    schema["properties"][key] = part


def generate(frame: dict, schemas: dict) -> tuple[dict, dict]:
    """values.schema.json and files/workers.json."""
    values, facts_of = copy.deepcopy(frame["schema"]), {}
    sections: dict = {}
    for worker, facts in frame["workers"].items():
        config = tidy(schemas[worker])
        accepts = sorted(config["properties"])

        # A section that all share is checked the same everywhere, so any worker's may stand for it.
        for section in frame["sections"]:
            if section in config["properties"]:
                sections.setdefault(section, copy.deepcopy(config["properties"][section]))
        required = take_required(config)
        take_written(config, frame["written"])
        config["description"] = f"The worker's own file; `sluice config-schema {worker}` describes it. The chart adds {', '.join(frame['written'])}."

        # One workload under the worker's own name, or many under the names of a map.
        values["definitions"][f"{worker}Config"] = config
        values["definitions"][worker] = entry_of(worker, facts, frame)
        reference = {"$ref": f"#/definitions/{worker}"}
        add_property(values, facts["defaults"], reference)
        if many := facts.get("many"):
            pattern = "^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$"
            entries = {"type": "object", "additionalProperties": False, "patternProperties": {pattern: reference}}
            add_property(values, many, {"description": f"Name → one workload. What it leaves out is taken from `{facts['defaults']}`.", **entries})

        known = {key: part for key, part in facts.items() if key != "about"}
        written = {path.split(".")[0] for path in frame["written"]}
        required = [need for need in required if need["path"][0] not in written]
        here = [section for section in frame["sections"] if section in accepts]
        facts_of[worker] = {**known, "accepts": accepts, "sections": here, "required": required}

    for section, about in frame["sections"].items():
        take_required(sections[section])
        add_property(values, section, {**sections[section], "description": about})
    for path, instead in frame["removed"].items():
        say_removed(values, frame, path, instead)
    return values, facts_of


def say_removed(values: dict, frame: dict, path: str, instead: str) -> None:
    """A removed value is refused with what to write instead: no value but this text fits."""
    *parents, last = path.split(".")
    at = values
    for key in parents:
        at = values["definitions"][key] if at is values and key in frame["workers"] else at["properties"][key]
    add_property(at, last, {"const": f"removed: {instead}", "deprecated": True})


# ---- writing --------------------------------------------------------------------------------------------


def compact(value, indent: int = 0) -> str:
    """JSON with short objects and lists on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or not value or len(line) + indent <= WIDTH:
        return line
    pad, inner = " " * indent, " " * (indent + 2)
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(key)}: {compact(part, indent + 2)}" for key, part in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{pad}}}"
    return "[\n" + ",\n".join(inner + compact(part, indent + 2) for part in value) + f"\n{pad}]"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = arguments.add_mutually_exclusive_group(required=True)
    source.add_argument("--sluice")
    source.add_argument("--schemas")
    arguments.add_argument("--check", action="store_true")
    given = arguments.parse_args()

    frame = read_frame()
    values, facts = generate(frame, read_schemas(frame, given.sluice, given.schemas))
    stale = 0
    for path, content in ((CHART / "values.schema.json", values), (CHART / "files" / "workers.json", facts)):
        text = compact(content) + "\n"
        before = path.read_text() if path.exists() else ""
        if text == before:
            continue
        if not given.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            print(f"helm: wrote {path.relative_to(CHART.parent)}")
            continue
        stale += 1
        print(f"helm: {path.relative_to(CHART.parent)} differs from the workers' types; run helm/generate_values_schema.py", file=sys.stderr)
        change = difflib.unified_diff(before.splitlines(), text.splitlines(), "checked in", "generated", lineterm="", n=1)
        print("\n".join(list(change)[:40]), file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
