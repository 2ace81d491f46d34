# Everything runs in .venv/, which the first target makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of what kenpin is measured against; its tests of equal scores may use it, too.
PEERS := .venv-peers

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: install real-partners demo bench bench-peers test test-busy test-real lint check docs \
  coverage deb release-deb sbom clean

install: $(VENV)/installed

# Debian without python3-venv has no ensurepip; virtualenv brings its own pip.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  $(PYTHON) -m pip install --target $(VENV).bootstrap virtualenv && \
	  PYTHONPATH=$(VENV).bootstrap $(PYTHON) -m virtualenv $(VENV) && \
	  rm -rf $(VENV).bootstrap; } || { rm -rf $(VENV); \
	  echo "no virtual environment can be made: install python3-venv" >&2; exit 1; }

$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[compile,backbones,cluster,dev,modbus,mqtt,opcua,page,store,tune]"
	touch $@

# What the tests of `make test-real` meet; each skips, and says so, where its partner is missing.
real-partners: $(BIN)/python
	@{ command -v chromium && command -v mmdebstrap && command -v lintian && command -v prometheus && \
	  PATH="$$PATH:/usr/sbin" command -v mosquitto; } >/dev/null || \
	  { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -q && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends \
	      chromium fonts-dejavu-core mmdebstrap lintian mosquitto prometheus; } || \
	  echo "not all partners could be installed: tests that need them skip" >&2
	@test -e "$$(npm root --global 2>/dev/null)/axe-core/axe.min.js" || \
	  { command -v npm >/dev/null && npm install --silent --global axe-core@4.14.1; } || \
	  echo "axe-core could not be installed: the test of accessibility skips" >&2
	@test -e "$$(npm root --global 2>/dev/null)/node-opcua-nodesets" || \
	  { command -v npm >/dev/null && npm install --silent --global \
	  node-opcua-nodesets@2.182.0 node-opcua-client@2.182.2; } || \
	  echo "no node-opcua: its tests of the OPC UA bridge skip" >&2
	@$(BIN)/python -m pip install --quiet -c constraints.txt build==1.6.1 pipx==1.18.4 \
	  twine==7.0.0 "cyclonedx-python-lib[json-validation]==11.12.0" || \
	  echo "no build, twine, pipx or cyclonedx: tests that need them skip" >&2
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[track]" || \
	  echo "no TensorBoard, MLflow or wandb: their tests skip" >&2
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]" || \
	  echo "no site generator: the test of the site skips" >&2

demo: install
	$(BIN)/python -m kenpin.compile.demo demo

# A frame beside its network and the simplest numpy: the rival of others is `make bench-peers`.
# Quiet, please: nothing else should run beside it. Some 3 minutes.
bench: install
	$(BIN)/python benchmarks/bench.py --tiles 16 64 --json bench.json

# kenpin beside Anomalib, in an environment of its own (some 3 GB); needs ../shared, data and weights.
# At first hours, most of them for its PatchCore of 10 %, which is fitted twice.
bench-peers: install $(PEERS)/installed
	$(BIN)/python benchmarks/peers.py --python $(PEERS)/bin/python --json peers.json \
	  --picture docs/pictures/peers.png

$(PEERS)/installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet -r benchmarks/peers/requirements.txt
	touch $@

# Tests start hundreds of processes: what these import is compiled once, whatever a container says.
test test-real test-busy coverage: export PYTHONDONTWRITEBYTECODE =

CLOCKED := $(sort $(shell grep -lE "mark\.clock" tests/test_*.py))

# Two files at a time: those that compute; then those that wait for processes and clocks, which
# should not wait for the former, and are found without reading the others. Both share their bundles.
test: install
	builds=$$(mktemp -d) && trap 'rm -rf "$$builds"' EXIT && export KENPIN_TEST_BUILDS="$$builds" && \
	$(BIN)/python -m pytest -m "not (clock or alone or real or thorough)" -n 2 --dist loadfile && \
	$(BIN)/python -m pytest -m "clock and not (alone or real or thorough)" -n 2 --dist loadfile $(CLOCKED)

# The same tests of processes and clocks while two others want both cores: ROUNDS times in a row.
test-busy: install
	$(BIN)/python benchmarks/busy.py --rounds $(or $(ROUNDS),1) -- $(CLOCKED)

# The promises of `make test` in all their cases; those that measure times, one by one; and with
# real partners, such as a browser: what is missing is named and skipped.
test-real: install real-partners
	builds=$$(mktemp -d) && trap 'rm -rf "$$builds"' EXIT && export KENPIN_TEST_BUILDS="$$builds" && \
	$(BIN)/python -m pytest -m "thorough and not (clock or alone or real)" -n 2 --dist loadfile && \
	$(BIN)/python -m pytest -m "thorough and clock and not (alone or real)" -n 2 --dist loadfile && \
	$(BIN)/python -m pytest -m "alone and not real" && \
	$(BIN)/python -m pytest -m real -rs

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini tests benchmarks fuzz packaging
	$(BIN)/lint-imports
	$(BIN)/python -m vulture

check: lint test

# site/ from docs/ and the docstrings; a dead link or anchor is an error.
docs: install
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	NO_COLOR=1 $(BIN)/zensical build --strict --clean

coverage: install
	$(BIN)/python -m pytest -m "not (clock or alone or real)" -n 2 --dist loadfile \
	  --cov --cov-report=term:skip-covered

# What an environment that compiles bundles is made of, as CycloneDX 1.6.
sbom: install
	$(BIN)/python packaging/sbom.py -o dist/kenpin-compiler.cdx.json

# The box's part with its libraries, for the Debian and the Python that build it: to try out.
deb: install
	$(BIN)/python packaging/deb.py -o dist

# The same to hand out: DEBFULLNAME and DEBEMAIL name who answers when a hole is found.
release-deb: install
	$(BIN)/python packaging/deb.py --release -o dist

clean:
	rm -rf $(VENV) $(VENV).bootstrap $(PEERS) build dist demo site *.egg-info src/*.egg-info
