# Every target is one line that calls `python -m harness …`, which does the same without make.
#
#   make … PYTHON=/path/to/python   use an environment that exists instead of making .venv
#   make … TORCH=cpu                set up with the CPU build of torch (no GPU: 200 MB, not 3 GB)

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

ifdef PYTHON
READY := existing-environment
HARNESS := $(PYTHON) -m harness
else
READY := .venv/ready
HARNESS := .venv/bin/python -m harness
endif

.PHONY: help existing-environment setup triton pytorch autodiff electives mine lesson book stubs verify doctor test-all xray bench grade mutate next hint solution reset restore progress report update watch image shell lint

help: ## this list
	@$(or $(PYTHON),python3) -m harness.screen.help $(firstword $(MAKEFILE_LIST))

triton pytorch autodiff electives: $(READY) ## DAY=7 [EX= V=1 DEBUG=1 IMPL= PRIOR= SEED= DEVICE=]: grade a day; without DAY, the track's days; electives come after Triton 35
	@$(HARNESS) $@

mine: $(READY) ## [TRACK= V=1]: grade every day that you have started
	@$(HARNESS) $@

lesson: $(READY) ## TRACK= DAY= [OPEN=1]: the day's lesson in the terminal, or in a browser
	@$(HARNESS) $@

book: $(READY) ## [SERVE=1 OPEN=1 TO= FORMAT=epub]: all lessons and days as a site
	@$(HARNESS) $@

next: $(READY) ## grade the first day that is not finished
	@$(HARNESS) $@

watch: $(READY) ## [TRACK= DAY=]: regrade on every save; keys h r p n b q
	@$(HARNESS) $@

hint: $(READY) ## TRACK= DAY= [EX=]: the next hint, one deeper each time
	@$(HARNESS) $@

solution: $(READY) ## TRACK= DAY= [FORCE=1]: yours against the reference, once passed
	@$(HARNESS) $@

reset: $(READY) ## TRACK= DAY= [EX=]: back to the stub; your version is kept
	@$(HARNESS) $@

restore: $(READY) ## TRACK= DAY= [VERSION=]: list or bring back versions that a reset replaced
	@$(HARNESS) $@

progress: $(READY) ## days, levels, medals, time; writes PROGRESS.md
	@$(HARNESS) $@

report: $(READY) ## [TO=file XRAY=1]: all of your work as one HTML page that needs no network
	@$(HARNESS) $@

update: $(READY) ## [CHECK=1 UNDO=1 UPSTREAM=]: the newest version, merged with your answers
	@$(HARNESS) $@

doctor: $(READY) ## what is installed, what is wrong, and what to do about it
	@$(HARNESS) $@

test-all: $(READY) ## the project's whole suite: references, stubs, bugs, the harness
	@$(HARNESS) $@

verify: $(READY) ## [TRACK= DAY= SEEDS=]: prove days: stubs fail, references pass, bugs are rejected
	@$(HARNESS) $@

xray: $(READY) ## DAY= [EX= V=1 ARCH=sm_80,sm_90 IMPL=]: what the compiler makes of your kernels
	@$(HARNESS) $@

bench: $(READY) ## [TRACK= DAY= AGAINST= QUICK=1 COMPARE=a,b]: times beside the reference and peers
	@$(HARNESS) $@

mutate: $(READY) ## [TRACK= DAY= EX= JOBS= HOUSE=]: test the tests: which small change does none notice?
	@$(HARNESS) $@

grade: $(READY) ## SUBMISSIONS= [OUT= DAYS= WEIGHTS= ENGINE=ray]: a class's gradebook
	@$(HARNESS) $@

stubs: $(READY) ## [CHECK=1]: write the stubs from the references, or compare only
	@$(HARNESS) $@

setup: $(READY) ## create the environment (other targets do it when it is missing)
	@:

image: ## [VARIANT=cuda|cu126|cpu]: build the container's image, by default what this machine can run
	@bash ci/container.sh build $(VARIANT)

shell: ## [VARIANT= RUN="make triton DAY=1"]: a shell in the image, or one command
	@bash ci/container.sh run $${RUN:+bash -c "$$RUN"}

lint: ## scripts, Dockerfiles, workflows (Python: ruff and mypy)
	@bash ci/lint.sh

.venv/ready: requirements.txt harness/setup.py
	@python3 harness/setup.py .venv $(TORCH)

existing-environment:
	@command -v "$(PYTHON)" >/dev/null || { echo "PYTHON=$(PYTHON) is no program: give the path of a Python, or unset PYTHON and make sets up .venv." >&2; exit 3; }
	@$(PYTHON) harness/setup.py --check $(origin PYTHON)
