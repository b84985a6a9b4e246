"""Every worker's file that the chart writes, against the JSON schema of that worker's configuration.

Usage: check_worker_files.py SCHEMAS RENDERED...
SCHEMAS holds <worker>.json as `sluice config-schema <worker>` prints it; RENDERED are manifests of `helm template`.
Exit 1 with every mistake if a file does not fit.
"""

import json
import pathlib
import sys

import jsonschema
import yaml


def worker_of(component: str) -> str:
    """`collector-flights` → `collector`, `sink-delta` → `sink`."""
    return component.split("-")[0]


def main() -> int:
    schemas = {path.stem: json.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*.json")}
    checked, wrong = 0, 0
    for rendered in map(pathlib.Path, sys.argv[2:]):
        for manifest in yaml.safe_load_all(rendered.read_text()):
            if not manifest or manifest["kind"] != "ConfigMap" or "worker.yaml" not in manifest["data"]:
                continue
            component = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
            validator = jsonschema.Draft202012Validator(schemas[worker_of(component)])
            checked += 1
            for error in validator.iter_errors(yaml.safe_load(manifest["data"]["worker.yaml"])):
                wrong += 1
                print(f"{rendered.name}: {component}: {error.json_path}: {error.message}", file=sys.stderr)
    print(f"helm: {checked} workers' files compared with their schemas, {wrong} mistakes")
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
