# make demo: set up with the core install and run the main job.
# make test: set up for development, check, and test the built wheel; as root it installs the system packages that the tests need.
# make test-lowest: run the core tests with the lowest versions of the dependencies that pyproject.toml allows.
# make docs: write the documentation as pages into site/.
# make newcomer: follow the tutorial in a clean environment.
# make mutants: defects drawn at random, and which of them no test notices; MUTANTS="--sample 200 --seed 1" for others.
# make prove: try every promise of the service with full counts and print what was found beside the target.
PYTHON ?= python3
PACKAGES := curvestop.proto curvestop.srm curvestop.hyperband curvestop.server curvestop.clients
PRODUCT := $(notdir $(wildcard *.py)) $(subst curvestop.,,$(PACKAGES))
PIP_FLAGS := --quiet --disable-pip-version-check --constraint constraints.txt

# The tests of what works without any heavy extra, in under three minutes.
CORE_TESTS := tests/srm tests/proto tests/hyperband/scheduler tests/clients/optuna tests/clients/remote tests/server/storage tests/server/studies \
	tests/server/rpc/test_servicer.py tests/server/rpc/test_batch.py tests/test_imports.py \
	$(addprefix --ignore ,tests/srm/predictors/test_bnn.py tests/proto/test_generated.py) \
	--deselect tests/srm/predictors/test_lce.py::test_a_missing_extra_is_named

.PHONY: demo test test-lowest packages prove mutants check docs newcomer proto dev links wheel constraints clean

demo: .venv-demo/ready
	bash examples/demo.sh .venv-demo/bin

.venv-demo/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install $(PIP_FLAGS) --editable .
	touch $@

# Development: everything in .venv; .links/curvestop is the repository, so that type checkers see the package by its name. The pages' reference
# is read from .links/docs/curvestop, which has the product's folders only: mkdocstrings follows links, and would walk the whole repository 40 times.
dev: .venv/ready links

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install $(PIP_FLAGS) --editable ".[dev]"
	touch $@

links:
	@[ -L .links/curvestop ] || rm -rf .links/curvestop
	@mkdir -p .links
	@ln -sfn .. .links/curvestop
	@mkdir -p .links/docs/curvestop
	@for path in $(PRODUCT); do ln -sfn ../../../$$path .links/docs/curvestop/$$path; done

check: dev
	.venv/bin/ruff check .
	.venv/bin/mypy $(addprefix -p ,$(PACKAGES)) -m curvestop -m curvestop.cli -m curvestop.command_line
	.venv/bin/mypy benchmarks tests
	.venv/bin/lint-imports --no-logo

proto: dev
	.venv/bin/python -m grpc_tools.protoc -I curvestop/proto=proto --python_out=.links --pyi_out=.links --grpc_python_out=.links \
		proto/early_stopping.proto

packages:
	PYTHON=$(PYTHON) bash .ci/packages

wheel: dev
	rm -rf build dist
	.venv/bin/python -m build --wheel --outdir dist . > /dev/null

# The tests run against the installed wheel, from a folder outside the source tree.
test: packages
	$(MAKE) check wheel
	bash .ci/test-wheel .venv/bin/python dist/curvestop-*.whl $(TESTS)

# Warnings of old versions about newer ones are not ours to mend.
test-lowest: .venv-lowest/ready wheel
	bash .ci/test-wheel .venv-lowest/bin/python dist/curvestop-*.whl -W ignore::DeprecationWarning $(CORE_TESTS)

.venv-lowest/ready: pyproject.toml constraints.txt .ci/lowest_bounds.py
	$(PYTHON) -m venv --clear .venv-lowest
	$(PYTHON) .ci/lowest_bounds.py certs lce > .venv-lowest/requirements.txt
	grep -E '^(pytest|pytest-timeout|hypothesis)==' constraints.txt >> .venv-lowest/requirements.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --requirement .venv-lowest/requirements.txt
	touch $@

# The variable silences the theme's advertisement; nothing is fetched, neither now nor when the pages are read.
docs: dev
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

# The tutorial, as a newcomer follows it: a clean environment, the built wheel, the time from install to the first stop.
newcomer: wheel
	bash .ci/newcomer

prove: dev
	.venv/bin/python -m tests.proofs.prove $(PROVE)

mutants: dev
	PYTHONPATH=.links .venv/bin/python -m tests.proofs.mutants $(MUTANTS)

# Pin what the development environment has now.
constraints: dev
	.venv/bin/python -m pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf .venv .venv-demo .venv-lowest .links build dist site *.egg-info
