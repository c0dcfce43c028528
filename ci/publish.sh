#!/usr/bin/env bash
# Publishes the image of a tag; called by .github/workflows/image.yml, which has logged in before.
#
#   ci/publish.sh push VARIANT    build on this machine's architecture and push
#   ci/publish.sh join VARIANT    one name for all architectures; prints and outputs its digest
#
# REGISTRY_IMAGE is the name without a tag, VERSION the tag, REVISION the commit.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/container.lib.sh
what=${1:?push or join} variant=${2:?a variant}
name=${REGISTRY_IMAGE:?}
name=${name,,} # a registry's names are in lower case, a repository's may not be
tag=$name:${VERSION:?}-$variant

case $what in
    push)
        docker buildx build \
            --build-arg BASE_IMAGE="$(variant_base "$variant")" \
            --build-arg TORCH_INDEX="$(variant_torch_index "$variant")" \
            --label org.opencontainers.image.source="${SOURCE_URL:?}" \
            --label org.opencontainers.image.revision="${REVISION:?}" \
            --label org.opencontainers.image.version="$VERSION" \
            --provenance mode=max --sbom true --push --tag "$tag-$(uname -m)" .
        ;;
    join)
        parts=()
        for machine in x86_64 aarch64; do
            ! docker buildx imagetools inspect "$tag-$machine" >/dev/null 2>&1 ||
                parts+=("$tag-$machine")
        done
        docker buildx imagetools create --tag "$tag" "${parts[@]:?nothing was pushed}"
        digest=$(docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}')
        echo "$tag $digest"
        [ -z "${GITHUB_OUTPUT:-}" ] || printf 'name=%s\ndigest=%s\n' "$name" "$digest" >>"$GITHUB_OUTPUT"
        ;;
    *) echo "push or join, not '$what'" >&2 && exit 2 ;;
esac
