#!/usr/bin/env bash
# Checks the chart: values.schema.json is what the workers' types give; every example is linted, rendered and held
# against Kubernetes' own schemas; every worker's file fits the schema that `sluice config-schema` prints and is accepted
# by the binary, and every key of that schema can be written; alerts fire when they should; wrong values are refused.
#
#   helm/test.sh              needs what setup/tools.sh brings; says what is missing, exit 1
#   SLUICE_BIN=path           the binary whose schemas are used (default: the last build)
#   KUBERNETES_VERSIONS="…"   the versions to validate against (default: the three newest that the package has)
#
# After a change of a worker's configuration: helm/generate_values_schema.py --sluice <binary>
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
CHART=sluicegate
CACHE=${SLUICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sluicegate}
PATH=$CACHE/tools:$PATH
export PYTHONDONTWRITEBYTECODE=1

say() { printf 'helm: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

# ---- tools -------------------------------------------------------------------------------------------

for tool in helm kubernetes-validate; do
  command -v $tool >/dev/null || fail "$tool is missing; the chart was not checked. setup/tools.sh brings it"
done
VALIDATE=$(command -v kubernetes-validate)
PYTHON=$(dirname "$(readlink -f "$VALIDATE")")/python # its own: it has a YAML reader and jsonschema
[ -x "$PYTHON" ] || PYTHON=python3
SLUICE=${SLUICE_BIN:-${CARGO_TARGET_DIR:-$CACHE/target}/debug/sluice}
NEWEST='import kubernetes_validate as k; print(*list(dict.fromkeys(v.rsplit(".", 1)[0] for v in k.utils.all_versions()))[-3:])'
read -ra VERSIONS <<<"${KUBERNETES_VERSIONS:-$("$PYTHON" -c "$NEWEST")}"

OUT=$(mktemp -d)
trap 'rm -rf "$OUT"' EXIT
mkdir "$OUT/schemas" "$OUT/every" "$OUT/rules"

# ---- the workers' types ------------------------------------------------------------------------------

if [ -x "$SLUICE" ]; then
  for worker in $("$PYTHON" -c 'import json; print(*json.load(open("sluicegate/values.frame.json"))["workers"])'); do
    "$SLUICE" config-schema "$worker" >"$OUT/schemas/$worker.json"
  done
  python3 generate_values_schema.py --schemas "$OUT/schemas" --check
  say "values.schema.json is what the workers' types give"
else
  say "NOT CHECKED: the workers' types and files: no binary at $SLUICE (cargo build -p sluice, or set SLUICE_BIN)"
fi

# ---- every example -----------------------------------------------------------------------------------

render() { # values, name
  helm template test "$CHART" --namespace sluicegate -f "$1" >"$OUT/$2.rendered.yaml"
}
helm lint --strict --quiet "$CHART" 2>/dev/null || fail "lint fails without values"
for values in examples/*.yaml; do
  name=$(basename "$values" .yaml)
  helm lint --strict --quiet "$CHART" -f "$values"
  render "$values" "$name"
  for version in "${VERSIONS[@]}"; do
    "$VALIDATE" --strict --quiet -k "$version" "$OUT/$name.rendered.yaml" >"$OUT/validated" || { cat "$OUT/validated" >&2; exit 1; }
    # What it has no schema for is checked below.
    if grep -v 'api version monitoring.coreos.com/v1' "$OUT/validated" | grep .; then fail "$values: not validated"; fi
  done
  say "$values: $(grep -c '^kind:' "$OUT/$name.rendered.yaml") objects, linted, valid for Kubernetes ${VERSIONS[*]}"
done

# ---- both directions ---------------------------------------------------------------------------------

if [ -x "$SLUICE" ]; then
  examples=()
  for values in examples/*.yaml; do examples+=("$OUT/$(basename "$values" .yaml).rendered.yaml"); done
  "$PYTHON" check_worker_files.py accepted "$OUT/schemas" "$SLUICE" ../schemas "${examples[@]}"
  "$PYTHON" check_worker_files.py agreed "$OUT/schemas" "$SLUICE" ../schemas "${examples[@]}"
  "$PYTHON" check_worker_files.py values "$OUT/schemas" "$OUT/every"
  for values in "$OUT"/every/*.yaml; do render "$values" "$(basename "$values" .yaml)"; done
  "$PYTHON" check_worker_files.py check "$OUT/schemas" "$OUT"/*.rendered.yaml
  "$PYTHON" check_worker_files.py covered "$OUT/schemas" "$OUT"/*.rendered.yaml
fi

# ---- monitors and alerts -----------------------------------------------------------------------------

"$PYTHON" check_monitoring.py "$OUT/rules" "$OUT"/*.rendered.yaml
if command -v promtool >/dev/null; then
  promtool check rules --lint=all --lint-fatal "$OUT"/rules/*.rules.yaml >"$OUT/promtool" 2>&1 || { cat "$OUT/promtool" >&2; exit 1; }
  cp tests/alerts.yaml "$OUT/rules/"
  promtool test rules "$OUT/rules/alerts.yaml" >"$OUT/promtool" 2>&1 || { cat "$OUT/promtool" >&2; exit 1; }
  say "promtool: rules are valid, and fire when they should"
else
  say "NOT CHECKED: the alerts' expressions: no promtool (setup/tools.sh brings it where there is Debian's package)"
fi

# ---- wrong values ------------------------------------------------------------------------------------

refusals=0
refused() { # what it must say, arguments of helm template
  local says=$1 answer; shift
  if answer=$(helm template test "$CHART" "$@" 2>&1); then fail "accepted, but should not be: $*"; fi
  grep -qF -- "$says" <<<"$answer" || fail "refused for another reason than '$says': $answer"
  refusals=$((refusals + 1))
}
minimal=(-f examples/minimal.yaml)
jobs=(-f examples/collectors.yaml)
# unknown
refused "at '': additional properties 'colour' not allowed" "${minimal[@]}" --set colour=red
refused "at '/masker/config': additional properties 'commit_millis' not allowed" "${minimal[@]}" --set masker.config.commit_millis=5
refused "at '/masker/config': additional properties 'schemas' not allowed" "${minimal[@]}" --set masker.config.schemas=/elsewhere
refused "at '/collectors/flights': additional properties 'jobs' not allowed" "${jobs[@]}" --set collectors.flights.jobs=1
refused "at '/collectors': additional properties 'Flights' not allowed" "${jobs[@]}" --set collectors.Flights.enabled=false
refused "at '/contracts/files': additional properties 'value.avsc' not allowed" -f examples/contracts-in-values.yaml --set 'contracts.files.value\.avsc=x'
# out of range, of another type
refused "at '/masker/config/commit_ms'" "${minimal[@]}" --set masker.config.commit_ms=6000
refused "at '/masker/config/memory'" "${minimal[@]}" --set masker.config.memory=lots
refused "at '/image/digest'" "${minimal[@]}" --set image.digest=latest
refused "at '/kafka/secrets/sasl.password'" "${minimal[@]}" --set 'kafka.secrets.sasl\.password=hunter2'
# removed
refused "removed: write sinks.archive" "${minimal[@]}" --set sinkArchive.enabled=true
refused "removed: write sinks.delta" "${minimal[@]}" --set sinkDelta.replicas=2
refused "removed: write masker.config.keys" "${minimal[@]}" --set masker.keys.existingSecret=keys
refused "removed: write kafka.secrets" "${minimal[@]}" --set kafka.existingSecret=kafka-user
refused "removed: write config.kafka of the worker" "${minimal[@]}" --set kafka.workers.masker.properties.a=b
refused "removed: write registry.token" "${minimal[@]}" --set registry.existingSecret=token
refused "removed: write config.database.url" "${jobs[@]}" --set collectors.flights.databaseUrl.existingSecret=database
refused "removed: write config.api.auth" "${jobs[@]}" --set collectors.flights.apiAuth.kind=bearer
refused "removed: write apply.config.replication" "${minimal[@]}" --set apply.replication=3
# missing
refused "no contracts for sink: give one of contracts.files" "${minimal[@]}" --set contracts.volume=null
refused "contracts: files and imagePath are given; give one" -f examples/contracts-in-values.yaml --set contracts.imagePath=/contracts
refused "kafka.brokers is missing: Bootstrap servers" "${minimal[@]}" --set kafka.brokers=
refused "registry.url is missing: Base URL" "${minimal[@]}" --set registry.url=null
refused "masker.config.keys is missing: Masking keys" "${jobs[@]}" --set masker.enabled=true
refused "collectors.new.config.database.table is missing" "${jobs[@]}" \
  --set-json 'collectors.new={"config": {"api": {"base_url": "http://a"}, "endpoints": [], "database": {"id_column": "id"}}}'
refused "collectors.new.config.api is missing" "${jobs[@]}" --set collectors.new.schedule=@hourly
# what does not go together
refused "sink: several pods write to one volume: add ReadWriteMany" "${minimal[@]}" --set sink.replicas=2
refused "collectors.flights: a CronJob is not autoscaled" "${jobs[@]}" --set collectors.flights.autoscaling.enabled=true
refused "masker.config.instance: two pods may not share an instance" "${minimal[@]}" --set masker.replicas=2,masker.config.instance=one
refused "drain_seconds: 90 is not below pod.terminationGracePeriodSeconds, 60" "${minimal[@]}" --set masker.config.limits.drain_seconds=90
refused "name Prometheus' namespace in networkPolicy.adminNamespaces" "${minimal[@]}" --set monitoring.podMonitor.enabled=true
refused "each worker has an account of its own" "${minimal[@]}" --set serviceAccount.name=all
say "$refusals wrong values are refused, each with its message"

# ---- what is rendered --------------------------------------------------------------------------------

"$PYTHON" check_objects.py "$OUT"/*.rendered.yaml
# Each of these would be a mistake.
for change in 's/values: \[1, 64\]/values: [1]/' 's/^  *serviceAccountName: .*/&-other/' 's/name: SLUICE_RACK/name: OTHER/' 's/kind: NetworkPolicy/kind: Other/' \
  's/readOnlyRootFilesystem: true/readOnlyRootFilesystem: false/' 's/topologyKey: kubernetes.io\/hostname/topologyKey: other/'; do
  sed "$change" "$OUT/minimal.rendered.yaml" >"$OUT/changed.yaml"
  if "$PYTHON" check_objects.py "$OUT/changed.yaml" >/dev/null 2>&1; then fail "not seen by check_objects.py: $change"; fi
done
has() { grep -q -- "$1" "$OUT/$2.rendered.yaml" || fail "$2: no '$1'"; }
lacks() { if grep -q -- "$1" "$OUT/$2.rendered.yaml"; then fail "$2: should not have '$1'"; fi; }
lacks 'automountServiceAccountToken: true' minimal
lacks '/usr/share/sluicegate/schemas' minimal
has 'values: \[1, 64\]' collectors
has "metadata.labels\['topology.kubernetes.io/zone'\]" minimal
has 'client.rack: eu-west-1a' sidecars
has 'restartPolicy: Always' sidecars
for name in masker-aviation masker-metering normaliser-aviation sink-archive sink-lake sink-metering; do has "^  name: test-sluicegate-$name$" groups; done
lacks '^  name: test-sluicegate-masker$' groups
# Admin pages: closed, but for the namespaces that the values name.
lacks 'from:' minimal
has 'values: \["monitoring"\]' monitoring
helm template test "$CHART" "${jobs[@]}" --set collectors.flights.enabled=false >"$OUT/off.rendered.yaml"
lacks collector-flights off
has collector-meters off
say "all checks passed"
