# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
#   make demo      set up ansible-core and run playbooks/demo.yml on this machine
#   make test      set up everything and run all tests
#   make lint      style, types, documentation, licences
#   make bench     measure, beside the peers and the floor
#   make fuzz      search longer for input that breaks a reader; NEXCAGE_FUZZ=1000 makes it still longer
#   make docs      write the generated pages and the HTML documentation
#   make test-vm   what needs a machine of its own: systemd, cgroup v2, reboot, power cut
#   make clean     remove all that was made here
#
# Every stage of `make test` is a target too: unit, sanity, adversarial, runtime, integration, molecule, unit-newest, ...

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export LC_ALL := C.UTF-8

PYTHON ?=
VENV := .venv
NEWEST := $(VENV)/newest
REPORTS := $(VENV)/reports
IN := tools/in-venv $(VENV)
IN_NEWEST := tools/in-venv $(NEWEST)
# A play on this machine keeps its temporary files here, and not in root's home.
HERE := env ANSIBLE_REMOTE_TMP=$(CURDIR)/$(VENV)/home/.ansible/tmp
PIP_INSTALL := python -m pip install --quiet --quiet --no-input

# What the tests need on the machine, beside Python.
PACKAGES := bubblewrap busybox-static catatonit conmon crun docker-registry git golang-github-containers-common \
  iproute2 jq linux-libc-dev lxc logrotate openssh-client podman procps runc runsc shellcheck skopeo systemd umoci util-linux

.PHONY: help demo test lint bench fuzz docs test-vm clean
help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.stamp-runtime
	@$(IN) $(HERE) ansible-playbook nexcage.backends.demo

# ---- environments: the oldest supported ansible-core, and the newest one under a newer Python where there is one

.PHONY: setup packages
setup: $(VENV)/.stamp-dev $(NEWEST)/.stamp packages

$(VENV)/.stamp-runtime: requirements.txt
	@tools/make-venv $(VENV) $(PYTHON)
	@$(IN) $(PIP_INSTALL) --requirement requirements.txt
	@touch $@

$(VENV)/.stamp-dev: requirements-dev.txt requirements-test.txt $(VENV)/.stamp-runtime
	@$(IN) $(PIP_INSTALL) --requirement requirements-dev.txt
	@mkdir -p $(VENV)/tree/ansible_collections/nexcage $(REPORTS)
	@ln -sfn ../../../.. $(VENV)/tree/ansible_collections/nexcage/backends
	@touch $@

$(VENV)/pythons: | $(VENV)/.stamp-runtime
	@tools/find-python links $@

$(NEWEST)/.stamp: requirements.txt requirements-test.txt | $(VENV)/.stamp-runtime $(VENV)/pythons
	@mkdir -p $(NEWEST)
	@newest=$$(printf '%s\n' $(VENV)/pythons/python3.* | sort --version-sort | tail -n 1); minor=$${newest##*.}; \
	if [ "$$minor" -ge 12 ]; then \
	  tools/make-venv $(NEWEST) "$$newest"; \
	  $(IN_NEWEST) $(PIP_INSTALL) 'ansible-core>=2.20' --requirement requirements-test.txt; \
	else \
	  echo "No Python 3.12 or newer here: the newest ansible-core is not tested."; \
	fi
	@touch $@

packages: | $(VENV)/.stamp-runtime
	@tools/apt-install $(PACKAGES)

# ---- the stages of the test

# Stages that use the machine's own runtimes run one after the other, the rest beside them.
tests_in = $(if $(wildcard tests/$1/test_*.py tests/$1/*/test_*.py),$1)
HOST_STAGES := $(call tests_in,runtime) \
  $(if $(wildcard tests/integration/*.yml),integration integration-newest) \
  $(if $(wildcard extensions/molecule/*/molecule.yml),molecule) $(if $(wildcard playbooks/demo.yml),demo-stage)
OTHER_STAGES := $(call tests_in,adversarial) unit $(call tests_in,conformance) lint unit-oldest sanity unit-newest sanity-newest

.PHONY: test unit unit-newest unit-oldest adversarial conformance runtime coverage integration integration-newest molecule demo-stage sanity sanity-newest
test:
	@echo "Setting up $(VENV) ..."
	@$(MAKE) --jobs=2 setup
	@$(VENV)/bin/python tools/run_stages.py $(REPORTS) "$(strip $(HOST_STAGES))" "$(strip $(OTHER_STAGES))" -- coverage

# $@ is the stage's name, and the name of its report.
PYTEST = pytest --color=no --quiet --junit-xml=$(CURDIR)/$(REPORTS)/$@.xml -p no:cacheprovider
# Changes the machine, so it needs root; without it only a continuous integration has to fail.
needs_root = if [ "$$(id -u)" != 0 ]; then echo "not run: needs root"; test -z "$${CI:-}"; exit; fi
has_newest = if [ ! -x $(NEWEST)/bin/ansible ]; then echo "no newer Python here"; exit 0; fi

unit: $(VENV)/.stamp-dev
	@COVERAGE_FILE=$(REPORTS)/coverage.unit $(IN) $(PYTEST) --numprocesses=2 --cov --cov-report= tests/unit

# What neither Python nor ansible-core has a part in.
SAME_EVERYWHERE := tests/unit/simulator $(wildcard tests/unit/test_*_page.py) tests/unit/test_docs.py tests/unit/test_repository.py tests/unit/test_floors.py tests/unit/test_run_stages.py
unit-newest: $(NEWEST)/.stamp
	@$(has_newest); $(IN_NEWEST) $(PYTEST) --numprocesses=2 -m "not fuzz" $(addprefix --ignore=,$(SAME_EVERYWHERE)) tests/unit

unit-oldest: $(VENV)/pythons
	@oldest=$$(printf '%s\n' $(VENV)/pythons/python3.* | sort --version-sort | head -n 1); \
	"$$oldest" -I -B tools/import_modules.py

adversarial: $(VENV)/.stamp-dev packages
	@COVERAGE_FILE=$(REPORTS)/coverage.$@ $(IN) $(PYTEST) --cov --cov-report= tests/$@

conformance: $(VENV)/.stamp-dev
	@COVERAGE_FILE=$(REPORTS)/coverage.$@ $(IN) $(PYTEST) --cov --cov-report= tests/$@ $(addprefix --nexcage-plugin=,$(wildcard docs/examples/*-backend))

# Each of these tests has folders of its own. One that must have the machine for itself joins @pytest.mark.xdist_group("host").
runtime: $(VENV)/.stamp-dev packages
	@COVERAGE_FILE=$(REPORTS)/coverage.runtime $(IN) $(HERE) $(PYTEST) --numprocesses=2 --dist=loadgroup --cov --cov-report= tests/$@

# What the unit tests, the probes and the tests on the real runtimes cover together: the engine is tested on real containers first.
coverage: $(VENV)/.stamp-dev
	@COVERAGE_FILE=$(REPORTS)/combined $(IN) coverage combine --quiet --keep $(REPORTS)/coverage.*
	@COVERAGE_FILE=$(REPORTS)/combined $(IN) coverage report --fail-under=95

integration: $(VENV)/.stamp-dev packages
	@$(needs_root); for playbook in tests/integration/*.yml; do echo "== $$playbook"; $(IN) $(HERE) ansible-playbook "$$playbook"; done

integration-newest: $(NEWEST)/.stamp packages
	@$(needs_root); $(has_newest); for playbook in tests/integration/*.yml; do echo "== $$playbook"; $(IN_NEWEST) $(HERE) ansible-playbook "$$playbook"; done

molecule: $(VENV)/.stamp-dev
	@$(needs_root); $(IN) $(HERE) molecule test --all

demo-stage:
	@$(needs_root); $(MAKE) demo

sanity: $(VENV)/.stamp-dev $(VENV)/pythons
	@$(IN) tools/run-sanity

sanity-newest: $(NEWEST)/.stamp
	@$(has_newest); $(IN_NEWEST) tools/run-sanity --exclude tests/

# ---- lint: each line is a target of its own, so that `make --keep-going lint` shows all that is wrong

LINTS := ruff mypy ansible-lint yamllint reuse changelog collection-docs shellcheck build
.PHONY: $(LINTS)
lint: $(LINTS)
	@echo "clean: $(LINTS)"
$(LINTS): $(VENV)/.stamp-dev

ruff:
	@$(IN) ruff check --quiet --output-format concise .
	@$(IN) ruff format --quiet --check .

mypy:
	@$(IN) mypy --no-error-summary --package ansible_collections.nexcage.backends.plugins

ansible-lint:
	@$(IN) ansible-lint --nocolor -q

yamllint:
	@$(IN) yamllint --strict .

reuse:
	@$(IN) reuse lint --quiet || $(IN) reuse lint --lines

changelog:
	@$(IN) antsibull-changelog lint

collection-docs:
	@$(IN) antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck .

shellcheck: packages
	@if command -v shellcheck >/dev/null; then git grep -lzE '^#!.*\b(ba)?sh\b' -- ':!*.md' | xargs -0 -r shellcheck --severity=warning; fi

build:
	@folder=$$(mktemp -d); trap 'rm -rf -- "$$folder"' EXIT; \
	$(IN) ansible-galaxy collection build --output-path "$$folder" >/dev/null; \
	tar --list --file "$$folder"/*.tar.gz | { ! grep -E '^(\.venv|\.ci|\.git|build)/'; }

# ---- the rest

bench: setup
	@$(IN) tests/benchmark/run

fuzz: export NEXCAGE_FUZZ ?= 50
fuzz: $(VENV)/.stamp-dev
	@env --unset=CI $(IN) $(PYTEST) --numprocesses=2 -o faulthandler_timeout=0 -m fuzz tests/unit tests/adversarial

docs: $(VENV)/.stamp-dev
	@mkdir -p build/docs
	@$(IN) python tools/generate_docs.py
	@$(IN) antsibull-docs sphinx-init --use-current --squash-hierarchy --lenient --dest-dir build/docs nexcage.backends
	@$(IN) $(PIP_INSTALL) --requirement build/docs/requirements.txt
	@cd build/docs && $(CURDIR)/tools/in-venv $(CURDIR)/$(VENV) ./build.sh >build.log 2>&1 || { cat build.log; exit 1; }
	@echo "Open build/docs/build/html/index.html"

test-vm: $(VENV)/.stamp-dev
	@$(IN) tests/vm/run

clean:
	@rm -rf -- $(VENV) .ansible .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build tests/output
	@find . -name __pycache__ -prune -exec rm -rf -- {} +
