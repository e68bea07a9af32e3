# The commands of everyday work. Each brings what it needs the first time, says what it is doing, and is quick the second time.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
TESTBED := $(CARGO) run --quiet -p testbed --
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Where cargo puts what it builds unoptimized.
BUILT := $(TARGET)/debug
# Most tests wait for other processes: four of a program run at a time, on two cores too.
TEST_THREADS := 4
# What users install; the rest of the workspace's binaries are tools of this repository.
PRODUCTS := $(patsubst %,-p %,controller ctl agent)
# The CNI plugins run on the node's own libraries, so they bring what they need; without PIE each is 43 kB smaller.
STATIC := -C target-feature=+crt-static -C relocation-model=static
PLUGINS := spiderpool coordinator ifacer
package = $(if $(filter spiderpool,$(1)),ipam-plugin,$(1))

# What the testbed runs on its nodes and beside them.
NODE_PROGRAMS := $(patsubst %,-p %,controller agent $(foreach plugin,$(PLUGINS),$(call package,$(plugin))))

# Adds up what each test program says, and fails when none ran.
define TOTAL
/^test result:/ { for (i = 2; i <= NF; i++) { \
    if ($$i ~ /^passed/) passed += $$(i-1); if ($$i ~ /^failed/) failed += $$(i-1); if ($$i ~ /^ignored/) skipped += $$(i-1) } } \
END { \
    if (passed + failed == 0) { print "no test ran" > "/dev/stderr"; exit 1 } \
    printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped }
endef

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: needs-cargo ## Build the release binaries, under their product names in target/release
	$(CARGO) build --locked --release $(PRODUCTS)
	$(foreach plugin,$(PLUGINS),$(CARGO) rustc --locked --profile release-small -p $(call package,$(plugin)) --bin $(plugin) -- $(STATIC);)
	install -D -t $(TARGET)/release $(PLUGINS:%=$(TARGET)/release-small/%)

.PHONY: test
test: ensure ## Run every test, the ones on a real control plane too; ends with the total
	@echo "== building the tests"
	@$(CARGO) test --workspace --locked --no-run
	@echo "== running the tests, on one control plane that they share"
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; status=0; \
	RUST_TEST_THREADS=$(TEST_THREADS) $(TESTBED) run -- $(CARGO) test --workspace --locked --no-fail-fast 2>&1 | tee "$$log" || status=$$?; \
	awk '$(TOTAL)' "$$log" || status=1; exit $$status

.PHONY: demo
demo: needs-cargo ## Show the main job: a simulated VPC's NICs become pools on a real API server (DEMO_EXIT=1: end by itself)
	@echo "== building the controller, the CLI and the testbed (unoptimized; minutes the first time, then a second)"
	@$(CARGO) build --locked -p testbed -p controller -p ctl
	@$(BUILT)/testbed demo

.PHONY: cluster
cluster: ensure ## Bring up two real nodes with the product on them, and leave them up (as root; about half a minute when all is built)
	@echo "== building the controller, the agent and the plugins (unoptimized; minutes the first time, then a second)"
	@$(CARGO) build --locked -p testbed $(NODE_PROGRAMS)
	@echo "== bringing up two nodes of two NICs each, IPv4 and IPv6, in a simulated VPC"
	@$(BUILT)/testbed cluster --detach

.PHONY: tour
tour: ensure ## Take the walkthrough for Alibaba Cloud on two real nodes, and see what each step shows (as root; two minutes when all is built)
	@echo "== building the controller, the agent and the plugins (unoptimized; minutes the first time, then a second)"
	@$(CARGO) build --locked -p testbed $(NODE_PROGRAMS)
	@$(BUILT)/testbed tour

.PHONY: cluster-down
cluster-down: needs-cargo ## Take down what `make cluster` brought up, without trace
	@$(TESTBED) down --dir .testbed-cluster

# What is brief asserts counts, which no optimization changes; what the tests have compiled serves it.
BENCHES := plan calls cluster exec coordinate allocation $(if $(filter brief,$(SPIDERPOOL_BENCH)),,wire)
BENCH_PROFILE := $(if $(filter brief,$(SPIDERPOOL_BENCH)),dev,release)

.PHONY: bench
bench: ensure build ## Measure what docs/performance.md states (minutes; let the machine be idle)
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; export SPIDERPOOL_PLUGIN=$(abspath $(TARGET)/release-small/spiderpool) \
	SPIDERPOOL_COORDINATOR=$(abspath $(TARGET)/release-small/coordinator); \
	$(CARGO) bench --locked --workspace --profile $(BENCH_PROFILE) $(BENCHES:%=--bench %) | tee "$$log"; \
	printf '\n== all of it, at a load of %s\n' "$$(cut -d ' ' -f 1-3 /proc/loadavg)"; grep -E '^(==|[|]) ' "$$log"

# For how long each parser is fuzzed, and which.
SECONDS := 60
PARSERS := $(notdir $(basename $(wildcard fuzz/targets/*.rs)))
FUZZ := $(abspath $(TARGET))/fuzz

.PHONY: fuzz
fuzz: needs-cargo ## Feed every parser what nobody should send it (SECONDS=60 each; PARSERS="stdin reply": only these)
	@command -v g++ > /dev/null || { echo "g++ is missing: install Debian's build-essential, then try again" >&2; exit 1; }
	@echo "== building the parsers with libFuzzer (minutes the first time, then a second)"
	@cd fuzz && $(CARGO) build --locked --release --target-dir $(FUZZ)
	@cd fuzz; run="$(CARGO) run --quiet --locked --release --target-dir $(FUZZ) --bin"; failed=0; mkdir -p $(FUZZ)/crashes; \
	for parser in $(PARSERS); do \
	    found=$(FUZZ)/found/$$parser; log=$(FUZZ)/$$parser.log; mkdir -p $$found; \
	    echo "== $$parser: $(SECONDS) s, from $$(ls seeds/$$parser | wc -l) seeds and $$(ls $$found | wc -l) inputs found before"; \
	    if $$run $$parser -- $$found seeds/$$parser -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=2048 \
	        -artifact_prefix=$(FUZZ)/crashes/$$parser- > $$log 2>&1; then \
	        awk '/INITED/{from=$$4} / cov: /{to=$$4} /^Done /{print $$2 " runs, branches seen: " from ", then " to}' $$log; \
	    else \
	        failed=1; tail -n 40 $$log >&2; \
	        crash=$$(sed -n 's/.*Test unit written to //p' $$log | tail -n 1); \
	        printf '\n%s failed; again: (cd fuzz && %s %s -- %s)\n' $$parser "$$run" $$parser "$${crash:-seeds/$$parser/*}" >&2; \
	    fi; \
	done; exit $$failed

.PHONY: soak
soak: ensure ## Ask ten agents for 100,000 ADDs and DELs while they and the API server are killed (an hour or less; SPIDERPOOL_SOAK=1000: a minute)
	@echo "== building the agent and the soak"
	@$(CARGO) test --locked -p agent --test soak --no-run
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; status=0; export SPIDERPOOL_SOAK=$${SPIDERPOOL_SOAK:-100000}; \
	echo "== $$SPIDERPOOL_SOAK ADDs and DELs on ten agents, which are killed as is their API server"; \
	$(CARGO) test --quiet --locked -p agent --test soak -- --nocapture 2>&1 | tee "$$log" || status=$$?; \
	printf '\n== all of it, at a load of %s\n' "$$(cut -d ' ' -f 1-3 /proc/loadavg)"; grep -E '^== |^test result' "$$log"; exit $$status

.PHONY: ensure
ensure: needs-cargo ## Fetch or build what the tests and the demo need (about 15 minutes, once)
	@$(CARGO) build --locked -p testbed
	@$(TESTBED) ensure

.PHONY: fmt
fmt: needs-cargo ## Format the code
	$(CARGO) fmt --all

.PHONY: lint
lint: needs-cargo licences ## Check format, lints and licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

.PHONY: licences
licences: needs-cargo ## Check licence, source and double versions of every dependency against deny.toml
	$(TESTBED) licences

.PHONY: crds
crds: needs-cargo ## Write the CRDs of the chart from the types in api/
	$(CARGO) run --quiet -p api --bin crdgen

.PHONY: needs-cargo
needs-cargo:
	@command -v $(CARGO) > /dev/null || { echo "cargo is missing: install Rust 1.95 or newer, then try again" >&2; exit 1; }
	@command -v cc > /dev/null || { echo "cc is missing: install Debian's build-essential, then try again" >&2; exit 1; }
