"""The Prometheus operator's objects that the chart writes.

Usage: check_monitoring.py OUT RENDERED...
Each PodMonitor and PrometheusRule in RENDERED (manifests of `helm template`) fits the operator's own schema. Each alert
of the chart says what to do and has a page in docs/runbooks that explains its metrics, and names the version that brings
a metric which the workers do not have yet. Which ones these may be is said in tests/it/house/fleet.rs alone.
Writes OUT/<manifests>.rules.yaml with the groups, for promtool. Exit 1 with every mistake.
"""

import json
import pathlib
import re
import sys

import jsonschema
import yaml

HERE = pathlib.Path(__file__).parent
RUNBOOKS = HERE.parent / "docs" / "runbooks"
SCHEMAS = json.loads((HERE / "schemas" / "monitoring.coreos.com-v1.json").read_text())
ANNOTATIONS = ("summary", "description", "action", "runbook_url")


def metrics_of_workers() -> set:
    """Names of metrics in the workers' sources."""
    names = set()
    for room in ("workers", "crates"):
        for path in (HERE.parent / room).rglob("*.rs"):
            names |= set(re.findall(r'"(sluice_[a-z_]+)"', path.read_text()))
    return names


def check_alert(rule: dict, known: set) -> list:
    """What is wrong with one alert of the chart."""
    name, wrong = rule["alert"], []
    wrong += [f"{name}: no annotation {key}" for key in ANNOTATIONS if not rule["annotations"].get(key)]
    page = RUNBOOKS / f"{name}.md"
    text = page.read_text() if page.exists() else ""
    if not text.startswith(f"# {name}\n"):
        wrong.append(f"{name}: no page {page.relative_to(HERE.parent)} with that title")
    if not rule["annotations"].get("runbook_url", "").endswith(f"/{name}.md"):
        wrong.append(f"{name}: runbook_url does not name {name}.md")
    for metric in set(re.findall(r"sluice_[a-z_]+", rule["expr"])):
        if metric not in text:
            wrong.append(f"{name}: its page does not explain {metric}")
        if metric not in known and "From version" not in text:
            wrong.append(f"{name}: no worker has a metric {metric}, and its page names no version that brings it")
    return wrong


def main() -> int:
    out, known, wrong, alerts, checked = pathlib.Path(sys.argv[1]), metrics_of_workers(), [], set(), 0
    for path in map(pathlib.Path, sys.argv[2:]):
        for manifest in yaml.safe_load_all(path.read_text()):
            schema = SCHEMAS.get(manifest["kind"]) if manifest else None
            if not schema:
                continue
            checked += 1
            for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest):
                wrong.append(f"{path.name}: {manifest['kind']}: {error.json_path}: {error.message}")
            if manifest["kind"] == "PrometheusRule":
                name = path.name.removesuffix(".rendered.yaml")
                (out / f"{name}.rules.yaml").write_text(yaml.safe_dump(manifest["spec"], sort_keys=False))
                ours = [rule for group in manifest["spec"]["groups"] for rule in group["rules"] if rule["alert"].startswith("Sluice")]
                wrong += [mistake for rule in ours for mistake in check_alert(rule, known)]
                alerts |= {rule["alert"] for rule in ours}
    pages = {page.stem for page in RUNBOOKS.glob("Sluice*.md")}
    wrong += [f"docs/runbooks/{page}.md: no such alert" for page in sorted(pages - alerts)]
    for mistake in dict.fromkeys(wrong):
        print(f"helm: {mistake}", file=sys.stderr)
    print(f"helm: {checked} objects of the Prometheus operator, {len(alerts)} alerts with their pages, {len(wrong)} mistakes")
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
