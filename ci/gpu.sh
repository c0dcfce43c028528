#!/usr/bin/env bash
# The GPU job: the timers and every reference on the real GPU, then the quick benches, beside those of the last run.
#
#   ci/gpu.sh                   in the image where an engine is here, else in .venv
#   PYTHON=python3 ci/gpu.sh    in an environment that exists (the image's own, a runner's)
#   LAST=bench.json ci/gpu.sh   the result to compare with: by default .harness/gpu/last.json
#
# No GPU is an error here: DEVICE=cuda keeps the job from going green on the interpreter. What it found
# is kept in .harness/gpu.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/container.lib.sh
export DEVICE=cuda
if [ -z "${PYTHON:-}" ]; then
    if engine_works; then
        ci/container.sh build
        exec ci/container.sh run bash ci/gpu.sh
    fi
    make setup
    PYTHON=.venv/bin/python
elif [ "${CI:-}" = true ]; then
    # The environment of a runner may be older than this commit.
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -r requirements.txt
fi
mkdir -p .harness/gpu
last=${LAST:-.harness/gpu/last.json}
status=0

"$PYTHON" -m harness doctor | tee .harness/gpu/doctor.txt
"$PYTHON" -m pytest -q tests/bench/test_on_gpu.py 2>&1 | tee .harness/gpu/timers.txt || status=1
"$PYTHON" -m harness verify 2>&1 | tee .harness/gpu/verify.txt || status=1
"$PYTHON" -m harness bench --quick --impl solution --output .harness/gpu/bench.json 2>&1 |
    tee .harness/gpu/bench.txt || status=1
if [ -f "$last" ] && [ -f .harness/gpu/bench.json ]; then
    # 1: something of this project got slower. 2: another machine, or no figure in common.
    code=0
    "$PYTHON" -m harness bench --compare "$last,.harness/gpu/bench.json" 2>&1 |
        tee .harness/gpu/compare.txt || code=$?
    [ "$code" != 1 ] || status=1
fi
exit "$status"
