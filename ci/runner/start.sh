#!/usr/bin/env bash
# In the container: one job, then the end. The registration is good for one job and comes on standard
# input, so that it is in no variable that the job inherits.
set -euo pipefail
IFS= read -r registration
exec ./run.sh --jitconfig "$registration" </dev/null
