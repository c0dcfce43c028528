#!/usr/bin/env bash
# Lints what is not Python: the scripts, the Dockerfiles, the workflows, the compose file. The linters
# come from requirements-lint.txt beside this file, into a folder of their own. None asks the network.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.harness/lint
bin=$folder/bin
if ! cmp -s ci/requirements-lint.txt "$folder/requirements"; then
    rm -rf "$folder"
    "${PYTHON:-python3}" -m venv "$folder"
    "$bin/python" -m pip install -qq --disable-pip-version-check -r ci/requirements-lint.txt
    cp ci/requirements-lint.txt "$folder/requirements"
fi
scripts=()
while read -r script; do # no mapfile: macOS has bash 3.2
    scripts+=("$script")
done < <(find ci .ci -type f \( -name '*.sh' -o -name run \) | sort)
"$bin/shellcheck" --external-sources "${scripts[@]}"
"$bin/hadolint" Dockerfile ci/runner/Dockerfile
"$bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml
"$bin/check-jsonschema" --builtin-schema vendor.compose-spec ci/runner/compose.yml
"$bin/zizmor" --offline --quiet --no-progress .github/workflows
echo "lint: ${#scripts[@]} scripts, 2 Dockerfiles, $(find .github/workflows -name '*.yml' | wc -l) workflows: clean"
