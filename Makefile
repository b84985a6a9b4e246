# make demo   runs the whole thing on this machine       make test   passes its tests
# Needs make, bash and Rust's toolchain; setup/setup.sh installs the rest or lists the missing packages.

export SLUICE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sluicegate
# Compiled crates are kept with the other downloads, so that a fresh clone does not compile them again.
export CARGO_TARGET_DIR ?= $(SLUICE_CACHE)/target
# A run compiles each crate once: the extra work of incremental builds would only cost time.
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
.PHONY: help setup build demo demo-clean tools test test-rust test-readme test-demo test-aws fault chaos lint fuzz fuzz-gate helm bench-wire bench-lane bench-plan bench-claims bench-collector bench-start fault-collector

help: ## print this list
	@echo "Sluicegate. make <target>:"; echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'
	@echo; echo "Settings: KEEP=1 (the demo runs until Ctrl-C), DATABASE=mariadb|postgres, DEMO_DIR=target/demo"

setup: ## install servers, data and Python packages on this machine, or list the missing packages
	@setup/setup.sh

build: setup ## compile the binaries sluice and sluice-demo
	@echo "make: compiling (the first time all dependencies: twenty to thirty minutes on two cores)"
	cargo build --locked $(CARGO_FLAGS) $(BINARIES)

demo: build ## run the whole fleet on a year of flights: API, collectors, masker, normaliser, sinks, SQL
	$(BIN)/sluice-demo run --dir $(DEMO_DIR) --database $(DATABASE) $(if $(KEEP),--keep)

demo-clean: ## remove the demo's files
	@if [ -f $(DEMO_DIR)/servers/stack.id ]; then rm -rf "/var/tmp/sluicegate-$$(cat $(DEMO_DIR)/servers/stack.id)"; fi
	rm -rf $(DEMO_DIR)

test: setup ## run all checks: format, tests on real servers, the README's commands, the demo on one month, readers that are not ours
	cargo fmt --all --check
	$(MAKE) --no-print-directory test-rust
	$(MAKE) --no-print-directory test-readme
	$(MAKE) --no-print-directory test-demo
	@echo "make: all tests passed"

test-rust: build ## run all tests of all crates, on real servers
	cargo test --locked $(CARGO_FLAGS) --workspace

test-readme: build ## walk the README from `git clone` to the masked table, with its own commands
	python3 tests/readme/walk.py README.md $(CARGO_TARGET_DIR)

test-demo: build ## run the demo on one month: workers are killed on the way, a second run, both databases, checks in Python
	$(MAKE) --no-print-directory demo-clean DEMO_DIR=$(TEST_DIR)/mariadb
	$(MAKE) --no-print-directory demo-clean DEMO_DIR=$(TEST_DIR)/postgres
	$(BIN)/sluice-demo run $(MONTH) --dir $(TEST_DIR)/mariadb --database mariadb --kill-each
	$(PYTHON) tests/truth/truth.py $(TEST_DIR)/mariadb tests/data
	$(BIN)/sluice-demo run $(MONTH) --dir $(TEST_DIR)/mariadb --database mariadb
	$(PYTHON) tests/truth/truth.py $(TEST_DIR)/mariadb tests/data
	$(BIN)/sluice-demo run $(MONTH) --dir $(TEST_DIR)/postgres --database postgres
	$(PYTHON) tests/truth/truth.py $(TEST_DIR)/postgres tests/data

test-aws: setup ## test the log-in to Amazon MSK: tokens beside those of AWS's own signer, and a broker that checks them
	cargo test --locked -p sluice-kafka --features aws

# ROW picks tests by name, SEED repeats a run's choices.
ROWS := cargo test --locked -p sluice-fault -p sluice-tests --test rows -- --include-ignored --nocapture
# Runs alone, because it needs the whole machine.
LONG := ten_minutes_of_a_sink_that_cannot_write

# SLUICE_JUDGED=<a release build of sluice> also checks the resident memory of the stalled sink.
fault: build ## run every row of the fault matrix on real servers, with seeds (about 40 min; as root also full disks); ROW picks rows
	$(if $(ROW),$(ROWS) --test-threads=2 $(ROW),$(ROWS) --test-threads=2 --skip $(LONG))
	$(if $(ROW),,$(ROWS) $(LONG))

MINUTES ?= 30

chaos: build ## inject random faults into a fleet at full load for MINUTES=30, then compare input and output record by record
	cargo build --locked $(BINARIES) -p sluice-fault
	$(BIN)/sluice-fault chaos --minutes $(MINUTES)

bench-start: build ## measure the time from a worker's start to its first record
	cargo build --locked $(BINARIES) -p sluice-fault
	$(BIN)/sluice-fault start

# The checkers that setup/tools.sh brings, before any that are installed otherwise.
WITH_TOOLS := PATH="$(SLUICE_CACHE)/tools:$$PATH"

tools: ## bring the programs that `make lint` and `make helm` check with
	@setup/tools.sh

# From seconds to minutes. `cargo deny check advisories` needs the database of advisories, which has to be fetched: where
# it cannot be reached, the other three checks still run. Two versions of a small crate are no finding (deny.toml).
lint: setup tools ## format, prose, licences, advisories, unused dependencies, Dockerfile and compose file, clippy (warnings are errors)
	cargo fmt --all --check
	python3 setup/house_counts.py --self-test
	python3 setup/house_counts.py
	$(WITH_TOOLS) cargo deny --all-features check --allow duplicate bans licenses sources
	@if $(WITH_TOOLS) cargo deny fetch db >/dev/null 2>&1; then $(WITH_TOOLS) cargo deny check advisories; \
	 else echo "make: NOT CHECKED: advisories: their database cannot be reached from here"; fi
	$(WITH_TOOLS) cargo machete
	$(WITH_TOOLS) setup/check_images.sh
	cargo clippy --locked --workspace --all-targets -- -D warnings

FUZZ_SECONDS ?= 60
FUZZ_TARGETS := validate patch frame json

fuzz: ## fuzz the readers of foreign bytes, FUZZ_SECONDS=60 each (needs a nightly toolchain and cargo-fuzz)
	@cargo +nightly --version >/dev/null 2>&1 || { echo "make: the fuzzer needs a nightly toolchain: rustup toolchain install nightly"; exit 1; }
	@command -v cargo-fuzz >/dev/null || { echo "make: the fuzzer needs cargo-fuzz: cargo install --locked cargo-fuzz"; exit 1; }
	cd fuzz && for target in $(FUZZ_TARGETS); do \
	  CARGO_TARGET_DIR=$(SLUICE_CACHE)/fuzz-target cargo +nightly fuzz run $$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=10 -max_len=4096 -print_final_stats=1 || exit 1; done

fuzz-gate: ## random contracts through the gate, CONTRACTS=200000 from SEED=1 on, decided by a model
	CONTRACTS=$(or $(CONTRACTS),200000) SEED=$(or $(SEED),1) cargo test --locked $(CARGO_FLAGS) -p sluice-govern -p sluice-tests --test it -- --nocapture no_leaf_below_a_label

helm: build tools ## lint the chart, render it, check the manifests and the workers' files against their schemas
	helm/test.sh

bench-wire: ## measure how fast wire programs validate and patch Avro, beside other implementations
	cargo run --release --manifest-path benches/wire/Cargo.toml

bench-lane: ## measure the cost of a lane beside plain copies on librdkafka, on a broker of its own
	cargo run --release --manifest-path benches/lane/Cargo.toml

bench-plan: build ## measure how long `sluice plan` takes for 500 contracts, on real servers
	$(PYTHON) benches/plan/plan.py $(BIN)/sluice schemas --applied

# BENCH_PROFILE=dev uses the crates that the tests have compiled: the run starts sooner and is slower.
BENCH_PROFILE ?= release
BENCH_ALSO := $(if $(filter dev,$(BENCH_PROFILE)),-p sluice-tests)

bench-claims: ## measure how many ids eight claimers take from a million rows, and Postgres under long transactions (15 min)
	cargo bench --locked --profile $(BENCH_PROFILE) -p sluice-lease $(BENCH_ALSO) --bench claims

BENCH_VENV := $(SLUICE_CACHE)/bench-venv

bench-collector: ## measure pages per second, memory and records per CPU-second of a collector, beside dlt (installs dlt)
	test -x $(BENCH_VENV)/bin/python || python3 -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -c 'import dlt' 2>/dev/null || $(BENCH_VENV)/bin/pip install -q --disable-pip-version-check dlt
	BENCH_PYTHON=$(BENCH_VENV)/bin/python cargo bench --locked --profile $(BENCH_PROFILE) -p sluice-collector $(BENCH_ALSO) --bench pages

FAULT_IDS ?= 100000

fault-collector: build ## kill and stop eight collectors at random over FAULT_IDS ids; CASES picks cases, SLUICE_SEED repeats a run
	SLUICE_FAULT_CASES=$(CASES) SLUICE_FAULT_IDS=$(FAULT_IDS) cargo test --locked -p sluice-tests --test it -- --nocapture --exact collector::eight_collectors_that_are_killed_and_stopped_miss_and_repeat_nothing
