#!/usr/bin/env bash
# Proves the image: builds the Dockerfile's CPU variant and runs the project in it, as its user.
#
#   ci/image.sh              a day of each track in the image: some minutes
#   FULL=1 ci/image.sh       the whole CPU job (ci/cpu.sh) in the image as well
#   IMAGE=name ci/image.sh   an image that exists: nothing is built
#   KEEP=1 ci/image.sh       leaves the image that it has built
#
# With a container engine (docker or podman) it builds on the Dockerfile's own Ubuntu base. Without one,
# or without a registry, as root on Debian or Ubuntu: mmdebstrap makes a base of the machine's own
# release and buildah builds on that, in a chroot. Where neither is possible it says so and ends well:
# what it did not do is no failure. BUILDER=engine or BUILDER=chroot insists on one of them.
# A machine that was able to make the base and to run a command in it has no excuse after that.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/container.lib.sh

workspace=/workspaces/mlsys-102
proof=localhost/mlsys-102-proof
base=localhost/mlsys-102-proof-base
scratch=$(mktemp -d)
container=
image=${IMAGE:-}
trap clean_up EXIT

main() {
    local builder=${BUILDER:-}
    if [ -z "$builder" ]; then
        if engine_works; then
            builder=engine
        elif chroot_tools; then
            builder=chroot
        else
            echo "ci/image.sh: skipped. No container engine answers, and a build in a chroot takes root"
            echo "  and: apt-get install buildah mmdebstrap (with CI=true they are installed here)."
            return
        fi
    fi
    if [ "$builder" = chroot ] && [ -z "$image" ] && ! make_base; then
        [ "${BUILDER:-}" = chroot ] && return 1
        echo "ci/image.sh: skipped. This machine gets no base from its package archive, or cannot run a"
        echo "  command in one (the reason stands above)."
        return
    fi
    copy_tree "$scratch/tree"
    [ -n "$image" ] || "build_with_$builder"
    step "check the image"
    "run_with_$builder" bash ci/image_checks.sh
    echo
    echo "ci/image.sh: passed ($SECONDS s, $builder)"
}

step() { printf '\n== %s\n' "$*"; }

# What git would commit, without the history: what a clone has. It belongs to the image's user, as a
# clone does to the person at the keyboard.
copy_tree() {
    mkdir "$1"
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
        tar --create --null --files-from=- | tar --extract --no-same-owner --directory "$1"
    # mktemp's folder is its maker's alone: the image's user has to pass through it.
    chmod 711 "$scratch"
    [ "$(stat -c %u "$1")" = 1000 ] || chown -R 1000:1000 "$1" 2>/dev/null || sudo -n chown -R 1000:1000 "$1"
}

# --- with a container engine ------------------------------------------------------------------------

build_with_engine() {
    image=mlsys-102:cpu
    step "build $image with $(engine)"
    build_image cpu
}

run_with_engine() {
    "$(engine)" run --rm --volume "$scratch/tree:$workspace" --env FULL --env CI "$image" "$@"
}

# --- with buildah, in a chroot ----------------------------------------------------------------------

chroot_tools() {
    [ "$(id -u)" = 0 ] || return 1
    if ! command -v buildah >/dev/null || ! command -v mmdebstrap >/dev/null; then
        [ "${CI:-}" = true ] && command -v apt-get >/dev/null || return 1
        step "install buildah and mmdebstrap"
        # One at a time: ci/book.sh may be at it as well.
        DEBIAN_FRONTEND=noninteractive flock "${TMPDIR:-/tmp}/mlsys-102-apt.lock" sh -c "apt-get update -q &&
            apt-get install -y -q --no-install-recommends buildah crun mmdebstrap" >"$scratch/apt.log" 2>&1 ||
            { tail -5 "$scratch/apt.log" && return 1; }
    fi
}

# Called in a condition, where bash ignores set -e: hence the &&.
make_base() {
    local release
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    step "make a base of $release"
    mmdebstrap --quiet --variant=minbase "$release" "$scratch/base.tar" &&
        container=$(buildah from scratch) &&
        buildah add --quiet "$container" "$scratch/base.tar" / >/dev/null &&
        buildah run --isolation chroot "$container" -- true &&
        buildah commit --quiet "$container" "$base" >/dev/null &&
        buildah rm "$container" >/dev/null &&
        container= &&
        rm "$scratch/base.tar"
}

build_with_chroot() {
    image=$proof
    step "build the Dockerfile on it"
    machine_settings
    buildah bud --format docker --isolation chroot --network host --layers=false \
        --build-arg BASE_IMAGE="$base" --build-arg TORCH_INDEX="$(torch_index_of_the_machine)" \
        "${mounts[@]}" --tag "$image" . >"$scratch/build.log" 2>&1 ||
        { tail -50 "$scratch/build.log" && return 1; }
    echo "built after $SECONDS s: $(buildah images --format '{{.Size}}' "$image")"
}

run_with_chroot() {
    [ -n "$container" ] || container=$(buildah from --pull-never "$image")
    buildah run --isolation chroot --network host --env FULL="${FULL:-}" --env CI="${CI:-}" \
        --volume "$scratch/tree:$workspace" "$container" -- "$@"
}

# The machine's pip configuration, with the certificates and folders that it names: mounted while the
# image is built, and no part of it.
machine_settings() {
    local path
    python3 ci/pip_settings.py "$scratch/pip.conf" /machine >"$scratch/paths"
    mounts=(--volume "$scratch/pip.conf:/etc/pip.conf:ro")
    while read -r path; do
        [ -z "$path" ] || mounts+=(--volume "$path:/machine$path:ro")
    done <"$scratch/paths"
}

# torch's CPU build comes from its own index, unless the machine keeps a build for its pip to find.
torch_index_of_the_machine() {
    grep -q . "$scratch/paths" || variant_torch_index cpu
}

clean_up() {
    [ -z "$container" ] || buildah rm "$container" >/dev/null || true
    if [ "$image" = "$proof" ] && [ -z "${IMAGE:-}${KEEP:-}" ]; then
        buildah rmi --force "$proof" "$base" >/dev/null 2>&1 || true
    fi
    rm -rf "$scratch" 2>/dev/null || sudo -n rm -rf "$scratch"
}

main
