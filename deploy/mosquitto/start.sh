#!/bin/sh
# start.sh SECRET CONFIG: the one user's password comes from a secret's file; the broker wants it hashed.
set -eu
umask 077
printf 'sitegate:%s\n' "$(cat "$1")" > /tmp/sitegate-users
mosquitto_passwd -U /tmp/sitegate-users
exec mosquitto -c "$2"
