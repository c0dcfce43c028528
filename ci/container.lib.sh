# shellcheck shell=bash
# What ci/container.sh, ci/image.sh and ci/gpu.sh know of images and engines. Sourced, not run.

# → docker or podman, whichever is here; CONTAINER_ENGINE decides where both are.
engine() {
    local name
    for name in ${CONTAINER_ENGINE:-docker podman}; do
        command -v "$name" >/dev/null && echo "$name" && return
    done
    return 1
}

# Whether that engine answers: a docker client without its daemon does not.
engine_works() {
    local name
    name=$(engine) && "$name" info >/dev/null 2>&1
}

# → the base image of a variant
variant_base() {
    case $1 in
        cuda) echo nvidia/cuda:13.0.1-base-ubuntu24.04 ;;
        cu126) echo nvidia/cuda:12.6.3-base-ubuntu24.04 ;;
        cpu) echo ubuntu:24.04 ;;
        *) echo "no variant is called '$1': cuda, cu126 or cpu" >&2 && return 2 ;;
    esac
}

# → the index with torch's build for a variant; none for the build that pip's ordinary index has
variant_torch_index() {
    case $1 in
        cuda) ;;
        *) echo "https://download.pytorch.org/whl/$1" ;;
    esac
}

# → the variant that this machine can run, by its NVIDIA driver
machine_variant() {
    local driver
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -1) || true
    case ${driver%%.*} in
        '' | *[!0-9]*) echo cpu ;;
        *) if [ "${driver%%.*}" -ge 580 ]; then echo cuda
           elif [ "${driver%%.*}" -ge 525 ]; then echo cu126
           else echo cpu; fi ;;
    esac
}

# build_image VARIANT [arguments of the engine's build …]
build_image() {
    local variant=$1 base index
    base=${BASE_IMAGE:-$(variant_base "$variant")}
    index=$(variant_torch_index "$variant")
    shift
    DOCKER_BUILDKIT=1 "$(engine)" build --tag "mlsys-102:$variant" \
        --build-arg BASE_IMAGE="$base" --build-arg TORCH_INDEX="$index" "$@" .
}
