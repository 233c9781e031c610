# Every command of this project. `make help` is made from the comments behind the targets.
.DEFAULT_GOAL := help
.PHONY: help demo token-demo custody-demo evidence-demo authority-drill run test soak lint format bench bench-events bench-evidence bench-csr bench-registers bench-keys bench-hosts bench-fairness soak-load bench-peers bench-all docs doctored permissions lock clean
BIN := .venv/bin

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## run the main job from order to evidence, narrated, under ./demo
	@tools/install run
	@$(BIN)/python tools/demo.py

token-demo: ## issue tokens through pcscd, use, lose, replace and destroy them, judged by OpenSC and OpenSSL
	@tools/install run
	@$(BIN)/python tools/token_demo.py

custody-demo: ## drive keys from order to certified destruction, under ./custody-demo; ARGS="--csrs 50000" for all
	@tools/install test
	@$(BIN)/python tools/custody_demo.py $(ARGS)

evidence-demo: ## a year of made-up life, exported for a role and a quarter and checked alone; hurried: ARGS="--events 100000"
	@tools/install test
	@$(BIN)/python -m tools.evidence_demo $(ARGS)

authority-drill: ## play an attacker who owns api and database against T1 to T12, under ./drill
	@tools/install test
	@$(BIN)/python tools/drill.py $(ARGS)

run: ## start a development server on SQLite and SoftHSM under ./run; it survives restarts
	@tools/install run
	@tools/run

test: ## run everything that CI runs, but the linters
	@tools/install test
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q -m "not soak" $(ARGS)

soak: ## run the long campaigns: kills, faults and load
	@tools/install test
	@$(BIN)/python -m pytest -m soak --timeout 7200 $(ARGS)

lint: ## check style, types and the direction of imports
	@tools/install test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: ## put the code into the one shape that lint accepts
	@$(BIN)/ruff check --fix-only -q .
	@$(BIN)/ruff format .

bench: ## measure, one JSON line a scenario, as ratios to raw calls of the module
	@tools/install test
	@$(BIN)/python -m bench $(ARGS)

bench-events: ## durable events a second beside the raw driver, on both databases, and the tree anew
	@tools/install test
	@mkdir -p bench/out
	@$(BIN)/python -m bench.events $(ARGS) > bench/out/events.jsonl
	@mv bench/out/events.jsonl bench/events.jsonl
	@$(BIN)/python -m bench.report

bench-evidence: ## export and verify 100,000 and 1,000,000 events: time and peak memory; proof sizes
	@tools/install test
	@$(BIN)/python -m bench.evidence $(ARGS)

bench-csr: ## build, check, submit and accept 50,000 certification requests: time and peak memory
	@tools/install test
	@$(BIN)/python -m bench.certificates $(ARGS)

bench-registers: ## page and export registers of 100 to 1,000,000 keys and page logs on both databases
	@tools/install test
	@mkdir -p bench/out
	@$(BIN)/python -m bench.registers $(ARGS) > bench/out/registers.jsonl
	@mv bench/out/registers.jsonl bench/registers.jsonl
	@$(BIN)/python -m bench.pages $(ARGS) > bench/out/pages.jsonl
	@mv bench/out/pages.jsonl bench/pages.jsonl
	@$(BIN)/python -m bench.report

bench-keys: ## use keys out of registers of 100 to 1,000,000: cached and missed, memory, start
	@tools/install test
	@mkdir -p bench/out
	@$(BIN)/python -m bench.keystore $(ARGS) > bench/out/keys.jsonl
	@mv bench/out/keys.jsonl bench/keys.jsonl
	@$(BIN)/python -m bench.report

bench-hosts: ## 1, 2 and 4 api processes with 1 and 2 gates over one PostgreSQL
	@tools/install test
	@mkdir -p bench/out
	@$(BIN)/python -m bench.hosts $(ARGS) > bench/out/hosts.jsonl
	@mv bench/out/hosts.jsonl bench/hosts.jsonl
	@$(BIN)/python -m bench.report

bench-fairness: ## one client's flood beside a quiet client
	@tools/install test
	@mkdir -p bench/out
	@$(BIN)/python -m bench.fairness $(ARGS) > bench/out/fairness.jsonl
	@mv bench/out/fairness.jsonl bench/fairness.jsonl
	@$(BIN)/python -m bench.report

soak-load: ## full load for half an hour (ARGS="--minutes 5"): memory and files of every process
	@tools/install test
	@mkdir -p bench/out
	@$(BIN)/python -m bench.soak $(ARGS) > bench/out/soak.jsonl
	@mv bench/out/soak.jsonl bench/soak.jsonl
	@$(BIN)/python -m bench.report

bench-peers: ## measure beside the peers, installed under bench/out, and write docs/benchmarks.md
	@tools/install test
	@$(BIN)/python -m bench --peers --append bench/results.jsonl $(ARGS)
	@$(BIN)/python -m bench.orders > bench/out/orders.jsonl
	@mv bench/out/orders.jsonl bench/orders.jsonl
	@$(BIN)/python -m bench.report

bench-all: bench-events bench-evidence bench-registers bench-keys bench-hosts bench-fairness bench-peers soak-load ## measure everything

docs: ## draw docs/architecture.svg anew from its text (needs graphviz)
	dot -Tsvg docs/architecture.dot -o docs/architecture.svg

doctored: ## write docs/doctored.md anew from the tests of doctored bundles
	@$(BIN)/python -m tests.evidence.kinds > docs/doctored.md

permissions: ## write docs/permissions.md anew from the permission matrix
	@$(BIN)/python -m tools.permissions

lock: ## write requirements.lock anew from requirements*.in
	@tools/install test
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --allow-unsafe \
	    --generate-hashes --strip-extras --no-emit-index-url --no-emit-trusted-host \
	    --no-emit-find-links --output-file=requirements.lock requirements-dev.in $(ARGS)

clean: ## remove what the demo, the drill and the caches left; ./run and .venv stay
	rm -rf demo custody-demo evidence-demo drill build .pytest_cache .mypy_cache .ruff_cache .hypothesis
