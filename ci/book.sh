#!/usr/bin/env bash
# Builds the book and looks at it as a reader's browser does: links, HTML, weight, accessibility,
# narrow and wide, light and dark. Runs the notebooks for Colab.
#
#   ci/book.sh        the book is in .harness/book afterwards
#
# Building it is part of CI everywhere. For the browser it takes Chromium (with CI=true and root,
# Debian's and Ubuntu's package is installed): where it cannot be had, that is said.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}

find_chromium() {
    local name
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        if [ -n "$name" ] && command -v "$name"; then return; fi
    done
    return 1
}

install_chromium() {
    [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    # One at a time: ci/image.sh may be at it as well.
    DEBIAN_FRONTEND=noninteractive flock "${TMPDIR:-/tmp}/mlsys-102-apt.lock" sh -c "apt-get update -q &&
        apt-get install -y -q --no-install-recommends chromium" >/dev/null 2>&1
}

"$python" -m pip install -q --disable-pip-version-check -r ci/book/requirements.txt
make book
PYTHONPATH=. "$python" ci/book/notebooks.py
find_chromium >/dev/null || install_chromium || true
PYTHONPATH=. "$python" ci/book/check.py .harness/book
