# make demo   runs the whole thing on this machine       make test   passes its tests
# Needs make, bash and Rust's toolchain; setup/setup.sh brings the rest or says what is missing.

export SLUICE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sluicegate
# Compiled crates are kept with the other downloads, so that a fresh clone does not compile them again.
export CARGO_TARGET_DIR ?= $(SLUICE_CACHE)/target
# A run compiles each crate once: what incremental builds write and check beside it would only cost time.
export CARGO_INCREMENTAL ?= 0

BIN := $(CARGO_TARGET_DIR)/debug
# sluice-tests is built with them for its dependencies: the features of all crates are then those of the whole
# workspace, and nothing heavy is compiled twice.
BINARIES := -p sluice -p sluice-demo -p sluice-tests
DEMO_DIR ?= target/demo
DATABASE ?= mariadb
TEST_DIR := target/test-demo
MONTH := --data tests/data
PYTHON := $(SLUICE_CACHE)/venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup build demo demo-clean test test-rust test-demo fault chaos lint fuzz helm bench-wire bench-lane bench-plan bench-claims bench-collector bench-start fault-collector

help: ## say what there is
	@echo "Sluicegate. make <target>:"; echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-13s %s\n", $$1, $$2}'
	@echo; echo "settings: KEEP=1 (demo stays up until Ctrl-C), DATABASE=mariadb|postgres, DEMO_DIR=target/demo"

setup: ## bring servers, data and Python packages onto this machine, or say what is missing
	@setup/setup.sh

build: setup ## compile the binaries sluice and sluice-demo
	@echo "make: compiling (the first time all dependencies: twenty to thirty minutes on two cores)"
	cargo build --locked $(CARGO_FLAGS) $(BINARIES)

demo: build ## the main job on a year of flights: API, collectors, masker, normaliser, sinks, SQL
	$(BIN)/sluice-demo run --dir $(DEMO_DIR) --database $(DATABASE) $(if $(KEEP),--keep)

demo-clean: ## remove what the demo has left
	@if [ -f $(DEMO_DIR)/servers/stack.id ]; then rm -rf "/var/tmp/sluicegate-$$(cat $(DEMO_DIR)/servers/stack.id)"; fi
	rm -rf $(DEMO_DIR)

test: setup ## everything that has to hold: format, tests on real servers, the demo on a month, other readers
	cargo fmt --all --check
	$(MAKE) --no-print-directory test-rust
	$(MAKE) --no-print-directory test-demo
	@echo "make: all tests passed"

test-rust: build ## all tests of all crates, on real servers
	cargo test --locked $(CARGO_FLAGS) --workspace

test-demo: build ## the demo on one month: workers killed on the way, a second run, both databases, Python's opinion
	$(MAKE) --no-print-directory demo-clean DEMO_DIR=$(TEST_DIR)/mariadb
	$(MAKE) --no-print-directory demo-clean DEMO_DIR=$(TEST_DIR)/postgres
	$(BIN)/sluice-demo run $(MONTH) --dir $(TEST_DIR)/mariadb --database mariadb --kill-each
	$(PYTHON) tests/truth/truth.py $(TEST_DIR)/mariadb tests/data
	$(BIN)/sluice-demo run $(MONTH) --dir $(TEST_DIR)/mariadb --database mariadb
	$(PYTHON) tests/truth/truth.py $(TEST_DIR)/mariadb tests/data
	$(BIN)/sluice-demo run $(MONTH) --dir $(TEST_DIR)/postgres --database postgres
	$(PYTHON) tests/truth/truth.py $(TEST_DIR)/postgres tests/data

# ROW picks tests by name, SEED repeats a run's choices.
ROWS := cargo test --locked -p sluice-fault -p sluice-tests --test rows -- --include-ignored --nocapture
# Takes the machine for itself.
LONG := ten_minutes_of_a_sink_that_cannot_write

# SLUICE_JUDGED=<a release build of sluice> also judges what of the stalled sink is resident.
fault: build ## every row of the fault matrix on real servers, each a seeded run (about 40 min; as root also full disks); ROW picks
	$(if $(ROW),$(ROWS) --test-threads=2 $(ROW),$(ROWS) --test-threads=2 --skip $(LONG))
	$(if $(ROW),,$(ROWS) $(LONG))

MINUTES ?= 30

chaos: build ## random faults on a fleet at full load for MINUTES=30, the oracle at the end
	cargo build --locked $(BINARIES) -p sluice-fault
	$(BIN)/sluice-fault chaos --minutes $(MINUTES)

bench-start: build ## from a worker's start to its first record
	cargo build --locked $(BINARIES) -p sluice-fault
	$(BIN)/sluice-fault start

lint: setup ## clippy with warnings as errors, and the dependencies' licences and advisories
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny check; \
	 else echo "make: cargo-deny is not installed (cargo install --locked cargo-deny): licences and advisories not checked"; fi

FUZZ_SECONDS ?= 60
FUZZ_TARGETS := validate patch frame json

fuzz: ## fuzz the readers of foreign bytes, FUZZ_SECONDS each (needs a nightly toolchain and cargo-fuzz)
	@cargo +nightly --version >/dev/null 2>&1 || { echo "make: no nightly toolchain, which the fuzzer's instrumentation needs: rustup toolchain install nightly"; exit 1; }
	@command -v cargo-fuzz >/dev/null || { echo "make: cargo-fuzz is missing: cargo install --locked cargo-fuzz"; exit 1; }
	cd fuzz && for target in $(FUZZ_TARGETS); do \
	  CARGO_TARGET_DIR=$(SLUICE_CACHE)/fuzz-target cargo +nightly fuzz run $$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=10 -max_len=4096 -print_final_stats=1 || exit 1; done

helm: ## lint the chart, render it, hold the manifests and the workers' files against their schemas
	helm/test.sh

bench-wire: ## how fast wire programs validate and patch Avro, beside other implementations
	cargo run --release --manifest-path benches/wire/Cargo.toml

bench-lane: ## what a lane costs beside plain copies on librdkafka, on a broker of its own
	cargo run --release --manifest-path benches/lane/Cargo.toml

bench-plan: build ## how long `sluice plan` takes for 500 contracts, on real servers
	$(PYTHON) benches/plan/plan.py $(BIN)/sluice schemas --applied

# BENCH_PROFILE=dev takes what the tests have compiled: sooner there, and slower.
BENCH_PROFILE ?= release
BENCH_ALSO := $(if $(filter dev,$(BENCH_PROFILE)),-p sluice-tests)

bench-claims: ## how many ids eight claimers take from a million rows, and Postgres under long transactions (15 min)
	cargo bench --locked --profile $(BENCH_PROFILE) -p sluice-lease $(BENCH_ALSO) --bench claims

BENCH_VENV := $(SLUICE_CACHE)/bench-venv

bench-collector: ## pages per second, memory and records per CPU-second of a collector, dlt's beside it (installs dlt)
	test -x $(BENCH_VENV)/bin/python || python3 -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -c 'import dlt' 2>/dev/null || $(BENCH_VENV)/bin/pip install -q --disable-pip-version-check dlt
	BENCH_PYTHON=$(BENCH_VENV)/bin/python cargo bench --locked --profile $(BENCH_PROFILE) -p sluice-collector $(BENCH_ALSO) --bench pages

FAULT_IDS ?= 100000

fault-collector: build ## eight collectors killed and stopped at random over FAULT_IDS ids; CASES picks, SLUICE_SEED repeats
	SLUICE_FAULT_CASES=$(CASES) SLUICE_FAULT_IDS=$(FAULT_IDS) cargo test --locked -p sluice-tests --test it -- --nocapture --exact collector::eight_collectors_that_are_killed_and_stopped_miss_and_repeat_nothing
