#!/usr/bin/env bash
# On the GPU machine: a fresh runner for each job, until stopped.
#
#   REPOSITORY=owner/name ci/runner/serve.sh
#
# Needs docker with NVIDIA's container toolkit, and gh, logged in with a token that may administer this
# one repository and nothing else (README.md beside this file). The token stays out here.
set -euo pipefail
cd "$(dirname "$0")"
: "${REPOSITORY:?owner/name}"

while true; do
    # A job's processes end with its container. If one is left on the card, the next job's times and
    # memory would be wrong: better to stop and be looked at.
    if left=$(nvidia-smi --query-compute-apps=pid,process_name --format=csv,noheader) && [ -n "$left" ]; then
        echo "the card is in use, no runner is started: $left" >&2
        exit 1
    fi
    registration=$(gh api --method POST "repos/$REPOSITORY/actions/runners/generate-jitconfig" \
        --raw-field "name=gpu-$(hostname)-$(date +%s)" --field "runner_group_id=${RUNNER_GROUP:-1}" \
        --raw-field 'labels[]=self-hosted' --raw-field 'labels[]=linux' --raw-field 'labels[]=gpu' \
        --jq .encoded_jit_config)
    docker compose run --rm --no-TTY runner <<<"$registration" || echo "runner ended with $?" >&2
    docker container prune --force --filter label=com.docker.compose.project=mlsys-102-runner >/dev/null
    sleep 5
done
