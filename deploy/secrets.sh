#!/bin/sh
# Makes the secrets that compose.yaml names, each in a file of its own; what exists stays as it is.
# Nobody else may enter the folder; the files in it can be read, since each container has a user of its own.
set -eu
folder="${1:-$(dirname "$0")/secrets}"
mkdir -p "$folder"
chmod 700 "$folder"
for name in influx_password influx_token grafana_password mqtt_password page_password page_token; do
    [ -s "$folder/$name" ] && continue
    umask 022
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$folder/$name"
    echo "made $folder/$name"
done
