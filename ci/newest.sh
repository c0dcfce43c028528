#!/usr/bin/env bash
# The suite on a torch and a triton that are newer than the pinned ones, to hear of breakage early.
#
#   CHANNEL=release ci/newest.sh    their newest releases
#   CHANNEL=nightly ci/newest.sh    last night's torch, the newest triton
set -euo pipefail
cd "$(dirname "$0")/.."
make setup TORCH=cpu
python=.venv/bin/python
index=https://download.pytorch.org/whl
case ${CHANNEL:-release} in
    release) from=(--index-url "$index/cpu") ;;
    nightly) from=(--pre --index-url "$index/nightly/cpu") ;;
    *) echo "CHANNEL is release or nightly" >&2 && exit 2 ;;
esac
install=("$python" -m pip install --quiet --disable-pip-version-check)
# torch alone comes from PyTorch's index. Of two indexes pip takes the higher version of every package,
# whoever put it there. What torch needs, and triton, come from PyPI.
"${install[@]}" --upgrade --no-deps "${from[@]}" torch
"${install[@]}" torch
"${install[@]}" --upgrade triton
"$python" -c 'import torch, triton; print("torch", torch.__version__, "triton", triton.__version__)'
"$python" -m mypy || echo "mypy: see above (its rules follow torch's annotations; not a failure here)"
make test-all
