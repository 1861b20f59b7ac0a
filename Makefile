# Requires Python 3.11 or newer with venv; everything else is installed into .venv.
#
#   make demo               from images to a report, on phantoms or on NIH data with DATA=/path/to/nih
#   make starter DATA=...   makes the model in the package again, from NIH data
#   make check              format, lint, spelling, types and import layers
#   make test               check and the quick tests, for everyday work
#   make test-all           check and all tests; continuous integration runs this
#   make source-projects    the rows of docs/source-projects.md, which test-all runs too; one by ROW=its-name
#   make fuzz               reads a million mutated inputs; other numbers of each kind by COUNT=
#   make fuzz-service       sends 20,000 mutated files to the service; another number by COUNT=
#   make fuzz-node          sends 10,000 mutated PDUs and objects to a node; another number by COUNT=
#   make soak               predicts a folder for half an hour, or for MINUTES=
#   make kills              kill -9 at 1,100 random moments; other numbers by COUNT=, other moments by SEED=
#   make line-coverage      line and branch coverage
#   make docs               writes docs/api.md, docs/source-projects.md and the pictures; needs Chromium and npm
#   make space              fills space/ with the page as static files, of BUNDLE= or the starter; needs npm
#   make npm                fetches the programs that run in browsers, for tests and the Space; needs npm
#   make containers         builds and tries the container images in Debian roots; needs root and debootstrap
#   ... TORCH=cpu           installs the CPU builds of PyTorch where pip would download CUDA builds

PYTHON ?= python3
DATA ?=
BUNDLE ?= starter
ROW ?=
COUNT ?=
MINUTES ?=
SEED ?=
TORCH ?=

# A worker takes whole files, so that what a file's tests share is made once.
WORKERS := -n 2 --dist loadscope --no-loadscope-reorder

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

ifeq ($(TORCH),cpu)
INDEX := --extra-index-url https://download.pytorch.org/whl/cpu
endif

ifeq ($(DATA),)
DEMO := demo/phantoms
SPLIT := folder-official
SOURCE := $(DEMO)/source
else
DEMO := demo/nih
SPLIT := nih-official
SOURCE := $(DATA)
endif

.PHONY: install demo starter check test test-all source-projects fuzz fuzz-service fuzz-node soak kills line-coverage docs npm space containers format clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(INDEX) -c constraints.txt -e '.[dev]'
	touch $@

# Shows a command as a user would type it, and runs it.
define thorax
@echo; echo 'thorax $(1)'; $(BIN)/thorax $(1)
endef

demo: $(INSTALLED)
	@mkdir -p $(DEMO)
ifeq ($(DATA),)
	@test -f $(SOURCE)/Data_Entry_2017_v2020.csv || $(BIN)/thorax phantom $(SOURCE) --patients 600
endif
	$(call thorax,prepare "$(SOURCE)" --recipe small-cpu --out $(DEMO)/store) || [ $$? -eq 4 ] # files were rejected
	$(call thorax,train small-cpu --store $(DEMO)/store --out $(DEMO)/run --resume --set data.split=$(SPLIT))
	$(call thorax,evaluate $(DEMO)/run --store $(DEMO)/store --out $(DEMO)/report --overwrite)
	@test -f demo/samples/Data_Entry_2017_v2020.csv || $(BIN)/thorax phantom demo/samples --patients 3 --seed 1
	@echo
	@echo "Now try the model on three phantoms that it has never seen:"
	@echo "  $(BIN)/thorax predict $(DEMO)/run demo/samples/images/*_000.png"

starter: $(INSTALLED)
	@test -n "$(DATA)" || { echo "make starter needs DATA=/path/to/nih, a folder in NIH's layout"; exit 2; }
	$(BIN)/python bench/starter.py --data "$(DATA)" --out demo/starter --write

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

# Bytecode is written once, not in each process of the tests where PYTHONDONTWRITEBYTECODE is set.
test: check
	$(BIN)/python -m compileall -q src
	$(BIN)/pytest $(WORKERS) -m "not slow"

test-all: check
	$(BIN)/python -m compileall -q src
	$(BIN)/pytest $(WORKERS) --durations=25

source-projects: $(INSTALLED)
	$(BIN)/pytest $(WORKERS) -vv tests/source_projects $(if $(ROW),-k "$(ROW)")

fuzz: $(INSTALLED)
	$(BIN)/python -m tests.long.fuzz $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))

soak: $(INSTALLED)
	$(BIN)/python -m tests.long.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

fuzz-service: $(INSTALLED)
	$(BIN)/python -m tests.long.service $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))

fuzz-node: $(INSTALLED)
	$(BIN)/python -m tests.long.pdus $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))

kills: $(INSTALLED)
	$(BIN)/python -m tests.long.kills $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.long.node_kills $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.long.cluster_kills $(if $(SEED),--seed $(SEED))

line-coverage: $(INSTALLED)
	$(BIN)/pytest $(WORKERS) --cov

docs: $(INSTALLED) npm
	$(BIN)/python tools/generate_api.py
	$(BIN)/python tools/source_projects.py
	$(BIN)/python tools/render_docs.py

npm: .npm/onnxruntime-web-1.30.0.tgz

.npm/onnxruntime-web-1.30.0.tgz:
	@mkdir -p .npm
	npm pack --silent --pack-destination .npm @cornerstonejs/codec-openjpeg@1.3.6 @cornerstonejs/codec-charls@1.2.7 \
		jpeg-lossless-decoder-js@2.1.2 onnxruntime-web@1.30.0

space: $(INSTALLED) npm
	$(BIN)/thorax export "$(BUNDLE)" --to web --out space/site --runtime .npm/onnxruntime-web-1.30.0.tgz \
		--decoders .npm --overwrite

containers:
	$(PYTHON) tools/containers.py

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info
