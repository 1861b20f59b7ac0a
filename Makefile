# Needs Python 3.11 or newer with venv, make and a C library; everything else is installed into .venv.
#
#   make demo               phantoms, or DATA=/path/to/nih for real radiographs, from files to report
#   make check              the static part of the tests: format, lint, types, layers
#   make test               that and the quick tests, for every day
#   make test-all           that and the slow ones: everything that continuous integration runs
#   make line-coverage      lines and branches of the packages that are covered whole
#   make docs               the pictures of the documentation
#   ... TORCH=cpu           the CPU builds of torch, where pip would fetch the CUDA ones

PYTHON ?= python3
DATA ?=
TORCH ?=

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

.PHONY: install demo check test test-all line-coverage docs format clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(INDEX) -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED)
	mkdir -p $(DEMO)
ifeq ($(DATA),)
	test -f $(SOURCE)/Data_Entry_2017_v2020.csv || $(BIN)/thorax phantom $(SOURCE) --patients 600
endif
	# 4: some files could not be used; the others go on
	$(BIN)/thorax prepare "$(SOURCE)" --recipe small-cpu --out $(DEMO)/store || [ $$? -eq 4 ]
	$(BIN)/thorax train small-cpu --store $(DEMO)/store --out $(DEMO)/run --resume --set data.split=$(SPLIT)
	$(BIN)/thorax evaluate $(DEMO)/run --store $(DEMO)/store --out $(DEMO)/report --overwrite
	test -f demo/samples/Data_Entry_2017_v2020.csv || $(BIN)/thorax phantom demo/samples --patients 3 --seed 1
	@echo
	@echo "Now try the model on three phantoms that it has never seen:"
	@echo "  $(BIN)/thorax predict $(DEMO)/run demo/samples/images/*_000.png"

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest -n 2 -m "not slow"

test-all: check
	$(BIN)/pytest -n 2 --durations=25

line-coverage: $(INSTALLED)
	$(BIN)/pytest -n 2 --cov --cov-report=term-missing:skip-covered

docs: $(INSTALLED)
	$(BIN)/python tools/render_docs.py

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info
