#!/usr/bin/env bash
# The GPU job: every reference on the real GPU, then the quick benches. No GPU is an error here:
# DEVICE=cuda keeps the job from going green on the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
export DEVICE=cuda
python=${PYTHON:-.venv/bin/python}
[ -n "${PYTHON:-}" ] || make setup
"$python" -m harness doctor
"$python" -m harness verify
"$python" -m harness bench --quick --impl solution
