#!/bin/sh
# Install the programs that the lab and the tests run and the system lacks.
# Usage: lab/system.sh [venv|service|demo|test|stack]   (service has no servers here; test also wants the shells and tools that only
# tests use, stack the browser)
set -eu

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Given a program and its Debian package, note the package if the program is not there.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    case " $missing " in *" $2 "*) return ;; esac
    missing="${missing:+$missing }$2"
}

missing=
# Debian's bare images come without what python -m venv needs.
if [ "${1:-demo}" = venv ]; then
    sh "$(dirname "$0")/python.sh" >/dev/null 2>&1 || missing="python3 python3-venv"
else
    if [ "${1:-demo}" != service ]; then
        need rsync rsync
        need sshd openssh-server
    fi
    need ssh openssh-client
    need ssh-agent openssh-client
    need setsid util-linux
    need flock util-linux
    need ps procps
fi
if [ "${1:-demo}" = test ]; then
    need busybox busybox
    need dash dash
    need tcsh tcsh
    need fish fish
    need setfacl acl
    need getfattr attr
    need strace strace
    need git git
fi
if [ "${1:-demo}" = stack ]; then
    # Without an engine the tests of the stack are skipped, and need no browser.
    docker info >/dev/null 2>&1 && need chromium chromium
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root='sudo -n'
else
    as_root=none
fi
if ! command -v apt-get >/dev/null 2>&1 || [ "$as_root" = none ]; then
    echo "lab/system.sh: missing and not mine to install: $missing" >&2
    echo "Install them, on Debian or Ubuntu as root with:  apt-get install $missing" >&2
    exit 1
fi

echo "installing $missing"
# shellcheck disable=SC2086 # as_root and missing are lists of words
{
    install="$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing"
    # A machine's package lists may be old or not there at all: a failure is tried again after an update.
    if ! output=$($install 2>&1) && ! output=$($as_root apt-get update -q 2>&1 && $install 2>&1); then
        printf '%s\n' "$output" >&2
        echo "lab/system.sh: apt-get could not install: $missing" >&2
        exit 1
    fi
}
