# Read by setup.sh and tools.sh, in this folder: the folder of downloads, and how something is put into it.
# shellcheck source=versions.env
. ./versions.env
CACHE=${SLUICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sluicegate}
CHECK_ONLY=false
INCOMPLETE=false
[ "${1:-}" = --check ] && CHECK_ONLY=true

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# A download may fail in passing: three tries, the last one with its own words on the terminal.
persist() { # what command…
  local what=$1 log tries=3; shift
  log=$(mktemp)
  for try in $(seq $tries); do
    if "$@" >"$log" 2>&1; then rm -f "$log"; return 0; fi
    [ "$try" = $tries ] || { say "$what failed, trying again"; sleep $((try * 2)); }
  done
  tail -n 30 "$log" >&2; rm -f "$log"
  die "$what failed $tries times; its last words are above"
}

# Each thing is made under a temporary name and moved into place when whole, so that a run cut short leaves
# nothing half-made behind.
fresh() { rm -rf "$1.part"; mkdir -p "$1.part"; }
place() { rm -rf "$1"; mv "$1.part" "$1"; }
absent() { # path what
  [ -e "$1" ] && return 1
  $CHECK_ONLY && { say "missing: $2 ($1)"; INCOMPLETE=true; return 1; }
  say "fetching $2"
}

# One at a time: two `make`s started together must not fetch into the same folder.
lock_cache() {
  mkdir -p "$CACHE"
  exec 9>"$CACHE/.setup.lock"
  command -v flock >/dev/null && flock 9
}
