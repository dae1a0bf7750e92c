# Needs make, Python 3.11 or newer and PyPI; everything lands in .venv and .cache of this folder.

# An environment that exists keeps its interpreter: make setup PYTHON=python3.13 chooses another.
PYTHON ?= $(or $(wildcard .venv/bin/python),python3)

# Compiled modules are kept, whatever a shell says: hundreds of processes would compile them anew.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-days lint licences laws mutate bench chaos kafka lock clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

setup: ## Create .venv with all that uv.lock names; PYTHON=... chooses the interpreter
	@$(PYTHON) .ci/setup.py

# One command that replaces the shell: it ends when make does.
demo: setup ## Run everything once on servers of its own; DEMO_ARGS="--help" shows options
	@FLEETPULSE_STOP_WITH_PARENT=1 exec .venv/bin/fleetpulse demo $(DEMO_ARGS)

up: setup ## Keep everything running on servers of its own, until Ctrl-C; UP_ARGS="--help"
	@FLEETPULSE_STOP_WITH_PARENT=1 exec .venv/bin/fleetpulse up $(UP_ARGS)

test: setup ## Tests that need nothing but PyPI; TEST_ARGS="tests/unit -k name" selects
	.venv/bin/pytest -n 6 --dist worksteal -m "not kafka and not timescale" $(TEST_ARGS)

# Days to come on which clocks change, holidays, ends of months and years, a leap day, each weekday.
DAYS ?= 2026-12-01 2026-12-24 2026-12-25 2026-12-26 2026-12-31 2027-01-01 2027-01-04 2027-01-31 \
    2027-02-01 2027-02-28 2027-03-01 2027-03-25 2027-03-26 2027-03-28 2027-03-29 2027-04-30 2027-05-06 \
    2027-05-17 2027-06-05 2027-07-04 2027-07-15 2027-08-31 2027-09-30 2027-10-01 2027-10-30 2027-10-31 \
    2027-11-01 2028-02-29 2028-03-26 2028-12-31
test-days: setup ## The tests that read a clock or a calendar, on thirty days; DAYS="2028-02-29 ..."
	.venv/bin/python -m tests.on_days $(DAYS)

lint: setup ## Style, format, types and the direction of imports
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --cache-dir .cache/import-linter

licences: setup ## The licence of each package of production; fails on one that nobody has allowed
	.venv/bin/python .ci/licences.py

# 2,640 examples at factor 1, of which 530 on the database.
LAW_FACTOR ?= 19
laws: setup ## The laws on 50,000 examples, some half an hour; LAW_FACTOR=2 is what CI does
	FLEETPULSE_LAW_FACTOR=$(LAW_FACTOR) .venv/bin/pytest -n 3 --dist worksteal --timeout 0 \
	    tests/property/test_writer_laws.py tests/property/test_ownership_laws.py \
	    tests/property/test_tracker_laws.py tests/property/test_clock_laws.py \
	    tests/property/test_fold_equals_batch.py tests/property/test_late_windows.py \
	    tests/property/test_bulk_fold.py tests/property/test_columnar_decoder.py $(TEST_ARGS)

mutate: setup ## Which changes of the rules no test sees; MUTATE_ARGS="--only processors/alerts"
	nice -n 15 .venv/bin/python -m tests.mutate $(MUTATE_ARGS)

# Some ten minutes on Apache Kafka (Java 17, Maven) and as many on the embedded broker.
chaos: setup ## Fifty faults, poison and a hostile reader under load; CHAOS_ARGS="--help"
	.venv/bin/python -m tests.chaos $(CHAOS_ARGS)

bench: setup ## Accuracy, speed, late fixes, optimizer and readers beside others'; BENCH_ARGS=--json
	.venv/bin/python -m bench.accuracy $(BENCH_ARGS)
	.venv/bin/python -m bench.throughput $(BENCH_ARGS)
	.venv/bin/python -m bench.ingest $(BENCH_ARGS)
	.venv/bin/python -m bench.late $(BENCH_ARGS)
	.venv/bin/python -m bench.optimizer $(BENCH_ARGS)
	.venv/bin/python -m bench.readers $(BENCH_ARGS)

kafka: setup ## Tests against the real Apache Kafka; needs Java 17 and Maven
	.venv/bin/python -m tests.apache_kafka.broker
	FLEETPULSE_REQUIRE_APACHE_KAFKA=1 .venv/bin/pytest -n 3 --dist worksteal -m kafka $(TEST_ARGS)

lock: setup ## Write uv.lock anew from pyproject.toml
	UV_CACHE_DIR=.cache/uv UV_PYTHON=.venv/bin/python .venv/bin/uv lock

clean: ## Remove .venv, .cache and compiled modules: all that any command here has written
	rm -rf .venv .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
