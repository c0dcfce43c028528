#!/usr/bin/env bash
# What has to be true inside the image; ci/image.sh runs it there, with the tree mounted.
set -euo pipefail

step() { printf '\n== %s\n' "$*"; }

step "its user owns what it must, and has what it needs"
test "$(id -un):$(id -u)" = learner:1000
test "$PWD" = /workspaces/mlsys-102
for folder in /opt/venv ~/.cache ~/.triton .; do
    test -w "$folder" || { echo "$folder cannot be written by $(id -un)" && exit 1; }
done
git --version
sudo --non-interactive true || echo "(no sudo in this kind of container)"

step "a C extension compiles against Python, as Triton's launchers do"
headers=$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')
echo '#include <Python.h>' | gcc -shared -fPIC -x c - -o /tmp/probe.so -I"$headers"

step "make doctor"
make doctor

step "a day of each track, graded with the reference"
for track in triton pytorch autodiff; do
    make "$track" DAY=1 IMPL=solution
done
(cd /tmp && IMPL=solution python "$OLDPWD/tracks/autodiff/day01.py")

if [ -n "${FULL:-}" ]; then
    step "the CPU job"
    bash ci/cpu.sh
fi

step "every file of the tree still belongs to the user"
strangers=$(find . ! -uid 1000 -print -quit)
test -z "$strangers" || { echo "$strangers does not" && exit 1; }
