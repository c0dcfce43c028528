#!/usr/bin/env bash
# Mutants of the days that a change touches; of all days with ALL=1 (the nightly run, which also
# brings docs/mutants.md up to date).
#
#   ci/mutants.sh origin/main
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -n "${PYTHON:-}" ] || make setup ${TORCH:+TORCH=$TORCH}
if [ -n "${ALL:-}" ]; then
    exec "$python" -m harness mutate --table
fi
base=${1:?name the commit to compare with, or set ALL=1}
status=0
days=$(git diff --name-only "$base"...HEAD -- tracks |
    sed -nE 's#^tracks/([a-z]+)/(solutions|tests|bugs)/[a-z_]*day([0-9]+)\..*#\1 \3#p' | sort -u)
while read -r track day; do
    [ -n "$track" ] || continue
    [ -f "tracks/$track/solutions/day$day.py" ] || continue # the day was taken away
    "$python" -m harness mutate "$track" "$((10#$day))" || status=1
done <<<"$days"
exit "$status"
