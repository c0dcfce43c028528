#!/usr/bin/env bash
# The image on this machine, with docker or podman (CONTAINER_ENGINE decides where both are).
#
#   ci/container.sh build [VARIANT] [argument …]    make image: cuda, cu126 or cpu; by default what this
#                                                   machine's driver can run. Arguments go to the build
#   ci/container.sh run [command …]                 make shell: a shell in it, or one command
#
# The tree is mounted, and what is written in it belongs to you: the image's user gets your id.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/container.lib.sh

workspace=/workspaces/mlsys-102

main() {
    local what=${1:-}
    [ $# = 0 ] || shift
    case $what in
        build) build "$@" ;;
        run) run "$@" ;;
        *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    esac
}

build() {
    need_engine
    local variant=${1:-$(machine_variant)}
    [ $# = 0 ] || shift
    echo "Building mlsys-102:$variant with $(engine) …"
    build_image "$variant" --build-arg USER_ID="$(user_id)" "$@"
}

run() {
    need_engine
    local variant=${VARIANT:-$(machine_variant)} arguments
    "$(engine)" image inspect "mlsys-102:$variant" >/dev/null 2>&1 || build "$variant"
    arguments=(
        --rm --init --interactive
        --shm-size 2g # torch's data loader workers hand over tensors in shared memory
        --volume "$PWD:$workspace"
        --volume mlsys-102-triton:/home/learner/.triton
        --volume mlsys-102-cache:/home/learner/.cache
        --security-opt label=disable # SELinux would ask for the tree to be relabelled
        --env CI --env DEVICE
    )
    # Root's tree can be written by root only; podman without root maps you to the same id inside.
    if [ "$(id -u)" = 0 ]; then
        arguments+=(--user 0)
    elif [ "$(engine)" = podman ]; then
        arguments+=(--userns keep-id)
    fi
    if [ "$variant" != cpu ]; then
        # no mapfile: macOS has bash 3.2
        while IFS= read -r argument; do arguments+=("$argument"); done < <(gpu_arguments)
    fi
    [ ! -t 0 ] || arguments+=(--tty)
    exec "$(engine)" run "${arguments[@]}" "mlsys-102:$variant" "${@:-bash}"
}

# A line an argument; none where there is no GPU.
gpu_arguments() {
    nvidia-smi --list-gpus >/dev/null 2>&1 || return 0
    if [ "$(engine)" = podman ]; then
        printf '%s\n' --device nvidia.com/gpu=all
    else
        printf '%s\n' --gpus all
    fi
}

user_id() {
    if [ "$(id -u)" = 0 ]; then echo 1000; else id -u; fi
}

need_engine() {
    engine_works && return
    if engine >/dev/null; then
        echo "$(engine) is installed, but does not answer: \`$(engine) info\` says why." >&2
    else
        echo "Neither docker nor podman is installed. The project also works without: make setup" >&2
    fi
    exit 3
}

main "$@"
