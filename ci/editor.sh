#!/usr/bin/env bash
# Proves the editor's files in a real editor: code-server (VS Code in a browser) on a fresh copy of the
# project, used by a headless Chromium. Some minutes, most of them for the installation, which is kept
# in .harness/editor for the next time.
#
#   ci/editor.sh              screenshots in .harness/editor/screenshots
#
# It takes npm with its registry and Chromium (with CI=true and root, Debian's and Ubuntu's packages are
# installed). Where they cannot be had it says so and ends well: what it did not do is no failure.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v "${PYTHON:-$PWD/.venv/bin/python}")
home=$PWD/.harness/editor
packages=(node@24.21.0 code-server@4.139.1 playwright-core@1.65.1)
scratch=$(mktemp -d)
server=
trap clean_up EXIT

clean_up() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$scratch"
}

skip() {
    echo "ci/editor.sh: skipped. $1"
    exit 0
}

step() { printf '\n== %s\n' "$*"; }

find_chromium() {
    local name
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        if [ -n "$name" ] && command -v "$name"; then return; fi
    done
    return 1
}

install_system_packages() {
    [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    step "install chromium and libkrb5-dev"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
        --no-install-recommends chromium libkrb5-dev g++ make; } >"$scratch/apt.log" 2>&1 ||
        { tail -5 "$scratch/apt.log" && return 1; }
}

install_editor() {
    [ "$(cat "$home/ready" 2>/dev/null)" != "${packages[*]}" ] || return 0
    step "install ${packages[*]}"
    rm -rf "$home"
    mkdir -p "$home"
    # code-server builds two native modules with the node that it will run on: that one comes first.
    (cd "$home" && echo '{ "private": true }' >package.json &&
        timeout 60 npm install --no-audit --no-fund --loglevel=error "${packages[0]}" &&
        PATH=$home/node_modules/.bin:$PATH timeout 400 npm install --no-audit --no-fund --loglevel=error \
            "${packages[@]}") >"$scratch/npm.log" 2>&1 || { tail -5 "$scratch/npm.log" && return 1; }
    echo "${packages[*]}" >"$home/ready"
}

# What git would commit: what a clone has.
copy_tree() {
    mkdir "$1"
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
        tar --create --null --files-from=- | tar --extract --no-same-owner --directory "$1"
    # The days as they come, whatever has been written in this tree's.
    (cd "$1" && "$python" -m harness stubs >/dev/null)
}

start_server() {
    local port
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    url=http://127.0.0.1:$port
    # Settings of its own, so that nothing of the machine's user is read or written. A terminal drawn
    # by a graphics card has no text in the page.
    mkdir -p "$scratch/user/User"
    echo '{ "terminal.integrated.gpuAcceleration": "off" }' >"$scratch/user/User/settings.json"
    PYTHON=$python SEED=1729 "$home/node_modules/.bin/node" "$home/node_modules/.bin/code-server" \
        --auth none --bind-addr "127.0.0.1:$port" --disable-telemetry --disable-update-check \
        --disable-workspace-trust --disable-getting-started-override --config "$scratch/config.yaml" \
        --user-data-dir "$scratch/user" --extensions-dir "$scratch/extensions" >"$scratch/server.log" 2>&1 &
    server=$!
    for _ in $(seq 60); do
        if "$python" -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1] + "/healthz")' "$url" 2>/dev/null
        then return; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.5
    done
    tail -20 "$scratch/server.log"
    return 1
}

main() {
    command -v npm >/dev/null || skip "npm is not installed."
    chromium=$(find_chromium) || { install_system_packages && chromium=$(find_chromium); } ||
        skip "It takes Chromium and, to build code-server, libkrb5-dev and g++: apt-get install them."
    install_editor || skip "code-server could not be installed (the reason stands above)."
    copy_tree "$scratch/tree"
    step "start code-server"
    start_server
    step "work in it"
    mkdir -p "$home/screenshots"
    rm -f "$home/screenshots"/*.png
    cp ci/editor/drive.mjs "$home/drive.mjs" # beside the packages that it imports
    TREE=$scratch/tree URL=$url OUT=$home/screenshots CHROMIUM=$chromium PYTHON=$python SEED=1729 \
        timeout 240 "$home/node_modules/.bin/node" "$home/drive.mjs"
    echo
    echo "ci/editor.sh: passed ($SECONDS s); screenshots in .harness/editor/screenshots"
}

main
