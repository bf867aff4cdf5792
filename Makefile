# `make demo` shows the product, `make test` proves it. Everything else is a part of one of the two.
.ONESHELL:
.NOTPARALLEL:
.DEFAULT_GOAL := help
SHELL := /bin/sh
.SHELLFLAGS := -euc
MAKEFLAGS += --no-print-directory

PYTHON ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=
bin := .venv/bin
protoc = PATH="$(CURDIR)/$(bin):$$PATH" python -m grpc_tools.protoc -I. --python_out="$$out" --grpc_python_out="$$out" \
	--mypy_out="quiet:$$out" --mypy_grpc_out="quiet:$$out" keyvault/v1/*.proto

# A slow or flaky package index costs patience, not the build. What the caller has set stays.
export PIP_RETRIES ?= 10
export PIP_DEFAULT_TIMEOUT ?= 60
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
export PIP_NO_INPUT ?= 1

.PHONY: help setup environment softhsm postgres demo demo-ha test lint check-protos protos lock clean

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: softhsm environment ## install SoftHSM2 and make .venv, where missing or older than requirements.lock

softhsm:
	@sh softhsm/install.sh

postgres:
	@sh keyvault/demo/install-postgres.sh

# .venv/installed is written last: an interrupted installation is stale, and so is one that was moved, because its
# scripts name their folder. A .venv that is a symbolic link is somebody else's environment and stays as it is.
environment:
	@if [ -L .venv ]; then exit 0; fi
	if { echo '$(CURDIR)'; cat requirements.lock; } 2>/dev/null | cmp -s - .venv/installed && $(bin)/python -c ''; then exit 0; fi
	py=
	for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then py=$$candidate; break; fi
	done
	if [ -z "$$py" ]; then
		echo 'keyvault needs Python 3.11 or newer and found none. Install it, or name it: make setup PYTHON=/path/to/python3' >&2
		exit 1
	fi
	if ! "$$py" -c 'import ensurepip, venv' 2>/dev/null; then
		package=$$("$$py" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
		if [ "$$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo=sudo; else
			echo "$$py cannot make environments. Run this, then make again: sudo apt-get install $$package" >&2
			exit 1
		fi
		$$sudo apt-get update -q || true  # one dead source of many must not stop us; the next line tells
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -q -y "$$package"
	fi
	echo "making .venv with $$("$$py" --version): about a minute, longer on a slow line"
	"$$py" -m venv --clear .venv
	$(bin)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(bin)/python -m pip install --quiet --no-deps --no-build-isolation --no-index -e .
	{ echo '$(CURDIR)'; cat requirements.lock; } > .venv/installed

demo: setup ## run the product's main job on real input and say whether all of it held
	@$(bin)/python -m keyvault.demo

demo-ha: setup postgres ## kill and pause servers of three nodes over PostgreSQL (DEMO_ARGS=--without-patroni: faster)
	@$(bin)/python -m keyvault.demo.ha $(DEMO_ARGS)

test: postgres lint ## static checks, then every test, the long ones included (PYTEST_ARGS='-k policy' for some)
	$(bin)/python -m pytest -n 2 --dist worksteal -q $(PYTEST_ARGS)

lint: setup check-protos ## static checks: style, types, layers, generated code
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports --no-logo

check-protos: setup
	@out=$$(mktemp -d)
	trap 'rm -rf "$$out"' EXIT
	(cd protos && $(protoc))
	if ! diff -r -u --exclude=__init__.py --exclude=__pycache__ keyvault/v1 "$$out/keyvault/v1"; then
		echo 'keyvault/v1 is not what protos/ says: run make protos and commit the result' >&2
		exit 1
	fi

protos: setup ## write keyvault/v1 anew from protos/
	@out=$(CURDIR)
	cd protos && $(protoc)

lock: setup ## write requirements.lock anew from pyproject.toml, with the newest versions that fit
	@$(bin)/python -m pip install --quiet uv
	$(bin)/uv pip compile pyproject.toml --extra dev --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock

clean: ## remove what can be made again, .venv included
	@rm -rf .etcd build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	if [ ! -L .venv ]; then rm -rf .venv; fi
	find keyvault tests -name __pycache__ -type d -prune -exec rm -rf {} +
