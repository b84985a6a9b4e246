#!/usr/bin/env bash
# Checks the chart: lint, render with every file of ci/, validate against Kubernetes' own schemas, compare each
# worker's file with the schema that `sluice config-schema` prints, and see that wrong values are refused.
#
#   helm/test.sh              needs helm and kubernetes-validate; says what is missing, exit 1
#   SLUICE_BIN=path           the binary whose schemas are used (default: the last build)
#   KUBERNETES_VERSION=1.32   the version to validate against
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
CHART=sluicegate
KUBERNETES_VERSION=${KUBERNETES_VERSION:-1.32}
CACHE=${SLUICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sluicegate}
PATH=$PATH:$(go env GOPATH 2>/dev/null || echo "$HOME/go")/bin

say() { printf 'helm: %s\n' "$*"; }
missing=()
command -v helm >/dev/null || missing+=("helm: go install helm.sh/helm/v3/cmd/helm@v3.22.0")
VALIDATE=$(command -v kubernetes-validate || true)
[ -n "$VALIDATE" ] || { [ -x "$CACHE/helm-venv/bin/kubernetes-validate" ] && VALIDATE=$CACHE/helm-venv/bin/kubernetes-validate; } ||
  missing+=("kubernetes-validate: python3 -m venv $CACHE/helm-venv && $CACHE/helm-venv/bin/pip install kubernetes-validate")
if [ ${#missing[@]} != 0 ]; then
  say "missing tools; the chart was not checked. Get them with:" >&2
  printf 'helm:   %s\n' "${missing[@]}" >&2
  exit 1
fi
PYTHON=$(dirname "$(readlink -f "$VALIDATE")")/python # its own: it has a YAML reader and jsonschema
[ -x "$PYTHON" ] || PYTHON=python3
SLUICE=${SLUICE_BIN:-${CARGO_TARGET_DIR:-$CACHE/target}/debug/sluice}

OUT=$(mktemp -d)
trap 'rm -rf "$OUT"' EXIT

say "lint"
helm lint --strict --quiet "$CHART"
touch "$OUT/no-values.yaml"
for values in "$OUT/no-values.yaml" "$CHART"/ci/*.yaml; do
  name=$(basename "$values" .yaml)
  helm lint --strict --quiet "$CHART" -f "$values"
  helm template test "$CHART" --namespace sluicegate -f "$values" >"$OUT/$name.rendered.yaml"
  say "$name: $(grep -c '^kind:' "$OUT/$name.rendered.yaml") objects, against Kubernetes $KUBERNETES_VERSION"
  "$VALIDATE" --strict --quiet -k "$KUBERNETES_VERSION" "$OUT/$name.rendered.yaml"
done

if [ -x "$SLUICE" ]; then
  mkdir "$OUT/schemas"
  for worker in collector masker normaliser sink apply; do
    "$SLUICE" config-schema "$worker" >"$OUT/schemas/$worker.json"
  done
  "$PYTHON" check_worker_files.py "$OUT/schemas" "$OUT"/*.rendered.yaml
else
  say "NOT CHECKED: the workers' files against their schemas: no binary at $SLUICE (cargo build -p sluice, or set SLUICE_BIN)"
fi

say "wrong values are refused"
full=$CHART/ci/full-values.yaml
refused() { # what it must say, arguments of helm template
  local says=$1 answer; shift
  if answer=$(helm template test "$CHART" "$@" 2>&1); then say "accepted, but should not be: $*" >&2; exit 1; fi
  grep -qF -- "$says" <<<"$answer" || { say "refused for another reason than '$says': $answer" >&2; exit 1; }
}
refused "colour" --set colour=red
refused "commit_millis" --set masker.config.commit_millis=5
refused "commit_ms" --set masker.config.commit_ms=6000
refused "jobs" --set collectors.flights.jobs=1
refused "brokers" --set kafka.brokers=
refused "set kafka.existingSecret" --set 'kafka.secrets.sasl\.password=password'
refused "workers" --set kafka.workers.nobody.properties.a=b
refused "ReadWriteMany" --set sinkDelta.replicas=2
refused "databaseUrl.existingSecret" --set collectors.flights.enabled=true
refused "not autoscaled" -f "$full" --set collectors.flights.autoscaling.enabled=true
refused "digest" --set image.digest=latest
off=$(helm template test "$CHART" -f "$full" --set collectors.flights.enabled=false)
if grep -q collector-flights <<<"$off"; then say "a collector that is switched off is still rendered" >&2; exit 1; fi
say "all checks passed"
