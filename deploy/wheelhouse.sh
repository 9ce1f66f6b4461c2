#!/bin/sh
# wheelhouse.sh PYTHON FOLDER: Sitegate and all it needs as wheels, for boxes without a network (docs/deploy.md).
# For a box with another Python or processor run it on a machine like that box.
set -eu
python="$1"
folder="$2"
here="$(cd "$(dirname "$0")/.." && pwd)"
pip="$python -m pip --disable-pip-version-check --quiet"
mkdir -p "$folder"
rm -f "$folder"/sitegate-*.whl          # of another version
$pip wheel --no-deps --require-hashes --wheel-dir "$folder" -r "$here/requirements.lock"
$pip wheel --no-deps --require-hashes --wheel-dir "$folder" -c "$here/requirements-dev.lock" grafana-foundation-sdk
$pip wheel --no-deps --no-build-isolation --wheel-dir "$folder" "$here"
echo "$(ls "$folder" | wc -l) wheels in $folder"
