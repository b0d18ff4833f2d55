# Every target builds .venv first. Only python3 (3.11 or 3.12), make and git are needed.
unexport PYTHONDONTWRITEBYTECODE
export OMP_NUM_THREADS ?= 1

PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install quickstart realistic study test chaos lint lock benchmarks card reference

install: $(STAMP)

# uv comes from the machine, or is put into .venv by pip. It takes every package from its default
# index: some machines configure pip with a torch build that torchvision's wheels do not fit.
$(STAMP): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 found; set PYTHON=/path/to/python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install -q uv
	UV=$$(command -v uv || echo $(BIN)/uv); VIRTUAL_ENV=$(CURDIR)/.venv \
		$$UV pip install -q --compile-bytecode -r requirements.lock -e ".[dev]"
	touch $@

quickstart: $(STAMP)
	$(BIN)/prunesweep run quickstart

realistic: $(STAMP)
	$(BIN)/prunesweep run realistic

study: $(STAMP)
	$(BIN)/prunesweep run study_tiny

# Two processes, a test file each at a time; tests/integration, which starts Ray, stays in one.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

# Real sweeps under seeded faults, which must come to what an undisturbed one comes to; hours.
FAULTS ?= 500
SEED ?= 1
WORKERS ?= 1
chaos: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m chaos --faults $(FAULTS) --seed $(SEED) --workers $(WORKERS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: $(STAMP)
	UV=$$(command -v uv || echo $(BIN)/uv); \
		$$UV pip compile -q --no-annotate --no-header --universal --python-version 3.11 \
		--extra dev pyproject.toml -o requirements.lock

# Ratios of speed and memory; a machine with a GPU has gpu_*.py besides.
benchmarks: $(STAMP)
	for name in importance evaluation recovery orchestration; do \
		$(BIN)/python tests/benchmarks/$$name.py || exit 1; done

reference: $(STAMP)
	$(BIN)/python docs/scripts/reference.py

card: $(STAMP)
	$(BIN)/python -m docs.scripts.embedded.card
