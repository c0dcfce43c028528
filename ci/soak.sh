#!/usr/bin/env bash
# Every reference over many seeds, one process a core: a learner's run has a random seed, so what the
# reference fails now and then a right answer does too. A failure is printed with day, seed and test.
#
#   SEEDS=300 SEED=0 SHARD=1/4 ci/soak.sh      the first of four machines
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -n "${PYTHON:-}" ] || make setup ${TORCH:+TORCH=$TORCH}
export SEEDS=${SEEDS:-300} SEED=${SEED:-0}
shard=${SHARD:-1/1}
cores=$(getconf _NPROCESSORS_ONLN)
machine=${shard%/*} machines=${shard#*/}
running=()
for core in $(seq 1 "$cores"); do
    part=$(((machine - 1) * cores + core))/$((machines * cores))
    "$python" -m harness verify --part "$part" &
    running+=("$!")
done
status=0
for process in "${running[@]}"; do
    wait "$process" || status=1
done
exit "$status"
