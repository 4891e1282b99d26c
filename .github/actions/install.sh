#!/usr/bin/env bash
# Installs the weft that this action belongs to into an environment of its own and puts it first in the path of later steps.
# Its dependencies are those of the lock file, each checked by its hash.
set -euo pipefail
source="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
place="$RUNNER_TEMP/weft"
if [[ -x "$place/bin/weft" ]]; then
  exit 0 # An earlier action of this job did it.
fi
python3 -m venv "$place"
"$place/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$source/deploy/requirements.lock"
"$place/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$source"
echo "$place/bin" >> "$GITHUB_PATH"
