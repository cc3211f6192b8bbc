# Everything here starts from nothing: each target makes the virtual environment that it needs first.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:

# What a user may set: make rehearsal INVENTORY=inventory/mine ARGS="--tags talos-w3 --check --diff"
INVENTORY ?= inventory/homelab
STATE ?= .rehearsal
# Of the simulated nodes: a second rehearsal beside another STATE needs its own, such as 127.11.0.0/16.
NETWORK ?=
# What `make rehearsal` runs.
PLAYBOOK ?= site.yml
ARGS ?=
# Where `make lock` writes: the collection's lock, or tools.lock.yml in the folder of an inventory.
LOCK ?= roles/tool/files/tools.lock.yml
# The interpreter of .venv; default: the newest one from 3.11 on that starts.
PYTHON ?=

VENV := .venv
VENV_219 := .venv-2.19
VENV_221 := .venv-2.21
BIN := $(VENV)/bin

# An ansible.cfg in a folder that everybody can write to is ignored unless it is named.
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Ansible refuses to start under a locale without UTF-8.
export LC_ALL := C.UTF-8
export PYTHONUTF8 := 1

# Simulated nodes boot while tests wait, so there is room for twice as many workers as cores. The tests of one file
# share rehearsals, in their order.
SPREAD = --numprocesses $$(($$(nproc) * 2)) --dist loadfile --no-loadscope-reorder

# Files that git knows or would know, so that no tool descends into environments or the collection's link to itself.
files = $(wildcard $(shell git ls-files --cached --others --exclude-standard -- $(1)))

.PHONY: help
help: ## list the targets
	@echo "make TARGET [INVENTORY=$(INVENTORY)] [STATE=$(STATE)] [NETWORK=...] [PLAYBOOK=$(PLAYBOOK)] [ARGS=...] [PYTHON=...]"
	@echo
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

.PHONY: venv
venv: ## make .venv from the newest Python and the locked requirements
	@python='$(PYTHON)'; .ci/venv $(VENV) "$${python:-$$(.ci/find-python 3.11 3.14)}"

.PHONY: rehearsal
rehearsal: venv ## the main job, or PLAYBOOK, on simulated nodes: from maintenance to a cluster under GitOps
	$(BIN)/rehearsal up --gitops --inventory $(INVENTORY) --state $(STATE) $(if $(NETWORK),--network $(NETWORK))
	PATH="$(CURDIR)/$(BIN):$$PATH" ansible-playbook -i $(INVENTORY) -i $(STATE)/inventory \
	    --vault-password-file $(STATE)/vault-password $(PLAYBOOK) $(ARGS)
	$(BIN)/rehearsal status --state $(STATE)

.PHONY: rehearsal-down
rehearsal-down: venv ## stop the simulated nodes (their state stays in STATE; ARGS=--wipe deletes it)
	$(BIN)/rehearsal down --state $(STATE) $(ARGS)

# The scenarios of molecule mostly wait, so they run meanwhile.
.PHONY: test
test: venv ## unit and integration tests (ARGS go to pytest), and molecule
	@tests/card/set-up
	@mkdir -p .cache; \
	VENV=$(VENV) molecule/run >.cache/molecule.log 2>&1 & scenarios=$$!; \
	failed=0; \
	PATH="$(CURDIR)/$(BIN):$$PATH" pytest $(SPREAD) -m "not faults and not slow" $(ARGS) || failed=1; \
	wait $$scenarios || failed=1; \
	cat .cache/molecule.log; \
	exit $$failed

.PHONY: molecule
molecule: venv ## roles in containers and site.yml on simulated nodes (ARGS names scenarios)
	VENV=$(VENV) molecule/run $(ARGS)

.PHONY: test-faults
test-faults: ## every test there is, with all faults and the slow ones, under ansible-core 2.19 and 2.21
	@tests/card/set-up
	@tests/card/guest/set-up
	@.ci/venv $(VENV_219) "$$(.ci/find-python 3.11 3.11)"
	@.ci/venv $(VENV_221) "$$(.ci/find-python 3.12 3.12 2>/dev/null || .ci/find-python 3.12 3.14)"
	@failed=; \
	for venv in $(VENV_219) $(VENV_221); do \
	    echo "== $$("$$venv/bin/python" -c 'import sys; from importlib.metadata import version; \
	    print("ansible-core", version("ansible-core"), "on Python", sys.version.split()[0])')"; \
	    PATH="$(CURDIR)/$$venv/bin:$$PATH" pytest $(SPREAD) $(ARGS) || failed+=" $$venv"; \
	done; \
	if [[ $$failed ]]; then echo "failed in:$$failed" >&2; exit 1; fi

.PHONY: test-vm
test-vm: venv ## a real `vagrant up` on Debian, as root: a box from packages, provisioned, looked at, at work, destroyed
	tests/vm/run $(ARGS)

.PHONY: bench
bench: venv ## time of a run without changes at 5, 100 and 500 simulated nodes
	PATH="$(CURDIR)/$(BIN):$$PATH" python tests/bench.py $(ARGS)

.PHONY: bench-card
bench-card: venv ## time of writing a card, beside zstdcat | dd (root)
	PYTHONPATH="$(CURDIR)" $(BIN)/python tests/bench_card.py $(ARGS)

.PHONY: lock
lock: venv ## sha256 of tools from their publishers into LOCK (ARGS='helm=4.3.0' adds a version)
	@$(BIN)/python -m ansible_collections.homelab.talos.plugins.plugin_utils._lock_command --lock '$(LOCK)' $(ARGS)

.PHONY: docs
docs: venv ## the options in the READMEs of roles, from their argument specs
	@$(BIN)/python .ci/role-docs.py

.PHONY: lint
lint: lint-python lint-types lint-yaml lint-ansible lint-changelog lint-sanity ## everything that needs no run

.PHONY: lint-python
lint-python: venv ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: lint-types
lint-types: venv ## mypy strict over plugins/ and rehearsal/
	$(BIN)/mypy

.PHONY: lint-yaml
lint-yaml: venv ## yamllint
	$(BIN)/yamllint --strict $(call files,'*.yml' '*.yaml' .yamllint .ansible-lint)

.PHONY: lint-ansible
lint-ansible: venv ## ansible-lint, profile production
	PATH="$(CURDIR)/$(BIN):$$PATH" ansible-lint --offline

.PHONY: lint-changelog
lint-changelog: venv ## antsibull-changelog: the fragments
	$(BIN)/antsibull-changelog lint

.PHONY: lint-sanity
lint-sanity: venv ## ansible-test sanity on a copy, for every Python from 3.9 on that is there
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/sanity.sh $(ARGS)

.PHONY: format
format: venv ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: clean
clean: ## remove environments and caches (not STATE, which holds keys of simulated nodes)
	rm -rf $(VENV) $(VENV_219) $(VENV_221) .venv*.lock .cache .ansible .mypy_cache .pytest_cache .ruff_cache
