# make run         install into a local virtual environment and start the server
# make test        run the whole test suite; JOBS=1 for one test at a time
# make check       what a commit must pass besides: ruff, mypy, imports, generated documentation, fragments
# make hooks       have git do the same before each commit
# make docs        build the documentation (needs Graphviz)
# make man         write the manual pages and the completion for bash into docs/_build/man
# make deb         build the Debian packages into the directory above (see docs/installation.rst)
# make benchmark   measure (see docs/development.rst for what to install); OPTIONS=--quick for a trial
# make fuzz        look for inputs that break a promise, SECONDS=60 for each kind; OPTIONS=--planted
# make mutation    break the code in thousands of ways, and see which the tests do not notice; MODULE=protocol.slip
# make soak        a load with faults; TUNNELS=1000000 for hours of it, OPTIONS="--setup one" for one setup

PYTHON ?= python3
SNITUN_PYTHON ?= $(PYTHON)
VENV := .venv
SNITUN_READY := $(VENV)-snitun/for-$(notdir $(SNITUN_PYTHON))
BIN := $(VENV)/bin
TRIAL ?= $(BIN)/trial
# Half as many again as there are cores, since many tests wait for something.
JOBS ?= $(shell echo $$(( ($$(nproc) * 3 + 1) / 2 )))

# More extras of setup.cfg that .venv/installed is to have at once: pip takes as long for one as for all.
EXTRAS ?=

# Scenarios of `make soak`
TUNNELS ?= 5000

# What each fuzzer is given.
SECONDS ?= 60

.PHONY: run test check hooks docs man deb benchmark fuzz mutation soak clean

run: $(VENV)/installed
	@$(BIN)/nymea-remoteproxy

test: $(VENV)/installed
	@echo "About twenty minutes of processor time, shared by $(JOBS) processes."
	$(TRIAL) -j $(JOBS) tests

check: $(VENV)/installed-check
	$(BIN)/pre-commit run --all-files

hooks: $(VENV)/installed-check
	$(BIN)/pre-commit install

docs: $(VENV)/installed-docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

man: $(VENV)/installed
	$(BIN)/python docs/manpages.py --output docs/_build/man

deb:
	@# Only Debian's own Python and packages, whatever else there is.
	PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg-buildpackage -b -us -uc

benchmark: $(VENV)/installed-benchmark $(SNITUN_READY)
	$(BIN)/python -m benchmarks $(or $(OPTIONS),--output benchmarks/results)

fuzz: $(VENV)/installed-fuzz
	$(BIN)/python -m fuzz --seconds $(SECONDS) $(OPTIONS)

mutation: $(VENV)/installed-mutation
	$(BIN)/mutmut run --max-children 1 "nymearemoteproxy.$(or $(MODULE),*).*"
	@$(BIN)/mutmut results | sed '/not checked/d'

soak: $(VENV)/installed
	$(BIN)/python -m soak --setup all --tunnels $(TUNNELS) $(OPTIONS)

clean:
	rm -rf $(VENV) $(VENV)-snitun build dist docs/_build *.egg-info _trial_temp* mutants

$(VENV)/installed: setup.cfg setup.py
	@echo "Installing into $(VENV) from PyPI, this takes a minute."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --config-settings editable_mode=compat --editable ".[test$(EXTRAS:%=,%)]"
	@touch $@ $(EXTRAS:%=$@-%)

# One of the extras of setup.cfg
$(VENV)/installed-%: $(VENV)/installed
	$(BIN)/pip install --quiet --config-settings editable_mode=compat --editable ".[$*]"
	@touch $@

# Apart from the rest, since it needs other versions of the same packages, and may have another Python.
$(SNITUN_READY):
	$(SNITUN_PYTHON) -m venv --clear $(VENV)-snitun
	$(VENV)-snitun/bin/pip install --quiet snitun uvloop
	@touch $@
