#!/usr/bin/env bash
# The GPU job: every day of kernels and models proved on the real GPU, what the harness measures there,
# then the quick benches, alone, beside those of the last run. The CPU job (ci/cpu.sh) proves what is the
# same everywhere: Autodiff, figures, and that a CPU rejects each known bug; here one a day is tried.
#
#   ci/gpu.sh                   in the image where an engine is here, else in .venv
#   PYTHON=python3 ci/gpu.sh    in an environment that exists (the image's own, a runner's)
#   WORKERS=4 ci/gpu.sh         so many processes at a time, instead of one for each core that memory allows
#   LAST=bench.json ci/gpu.sh   the result to compare with: by default .harness/gpu/last.json
#
# The workers share the GPU, or have one each where there are several. No GPU is an error here:
# DEVICE=cuda keeps the job from going green on the interpreter. What it found is kept in .harness/gpu.
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
stage() { # name, command …: how long it took, beside what it said
    local name=$1 began=$SECONDS
    shift
    "$@" 2>&1 | tee ".harness/gpu/$name.txt" || status=1
    echo "$name: $((SECONDS - began)) s" | tee -a .harness/gpu/times.txt
}

: >.harness/gpu/times.txt
"$PYTHON" -m harness doctor | tee .harness/gpu/doctor.txt
workers=${WORKERS:-$("$PYTHON" -c "from harness.cli.test_all import _workers; print(_workers('auto'))")}
BUGS=1 stage verify "$PYTHON" -m pytest -q -n "$workers" --dist load --maxschedchunk 1 --durations=8 \
    -k "not autodiff and not figures and not test_form" --ignore tests/gpu/test_measures.py \
    tests/gpu tests/content/test_days.py
# Times are only true alone.
stage timers "$PYTHON" -m pytest -q tests/gpu/test_measures.py tests/bench/test_on_gpu.py tests/measure/test_device.py
# The project's own kernels: what peers take is for the records, which are made by hand.
stage bench "$PYTHON" -m harness bench --quick --against none --impl solution --output .harness/gpu/bench.json
if [ -f "$last" ] && [ -f .harness/gpu/bench.json ]; then
    # 1: something of this project got slower. 2: another machine, or no figure in common.
    code=0
    "$PYTHON" -m harness bench --compare "$last,.harness/gpu/bench.json" 2>&1 |
        tee .harness/gpu/compare.txt || code=$?
    [ "$code" != 1 ] || status=1
fi
cat .harness/gpu/times.txt
exit "$status"
