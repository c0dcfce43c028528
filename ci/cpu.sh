#!/usr/bin/env bash
# The CPU job: lint, types, generated files, and the whole suite. Runs anywhere; needs no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup ${TORCH:+TORCH="$TORCH"}
python=${PYTHON:-.venv/bin/python}
bash ci/lint.sh
"$python" -m ruff check .
"$python" -m ruff format --check harness tests
"$python" -m mypy
make stubs CHECK=1
make test-all
