#!/bin/sh
# The real servers that the tests start as child processes. Installs the Debian packages that are missing if it may;
# otherwise names them. In CI a missing server fails here, not as a silent skip later.
set -u
missing=""
for pair in mosquitto:mosquitto influxd:influxdb victoria-metrics:victoria-metrics mbpoll:mbpoll chromium:chromium openssl:openssl \
            fc-list:fontconfig; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
# without a Chinese font the page's screenshots show boxes
command -v fc-list >/dev/null 2>&1 && fc-list :lang=zh | grep -q . || missing="$missing fonts-noto-cjk"
[ -z "$missing" ] && exit 0

sudo=""
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null && sudo="sudo -n"
fi
if command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || [ -n "$sudo" ]; }; then
    echo "installing for the tests:$missing"
    # the packages bring services of their own; the tests start private ones instead
    policy=/usr/sbin/policy-rc.d
    made=""
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null && $sudo chmod 755 "$policy" && made=1
    fi
    $sudo apt-get update -qq >/dev/null
    # shellcheck disable=SC2086  # a list of package names
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1
    status=$?
    [ -n "$made" ] && $sudo rm -f "$policy"
    [ $status = 0 ] && exit 0
    echo "apt-get could not install:$missing"
else
    echo "not installed, and not allowed to install:$missing (Debian: apt install$missing)"
fi
if [ -n "${CI:-}" ]; then
    echo "in CI a missing server is a failure"
    exit 1
fi
echo "the tests that need them will say so and be skipped"
