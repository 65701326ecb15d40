#!/bin/sh
# Start sshd for the user `files`, under an init that reaps what jobs leave. With arguments, run those instead.
set -eu
umask 022
here=${0%/*}

# Given what is wrong and how to mend it, end with one line.
refuse() {
    printf 'fs-sync-host: %s\n' "$*" >&2
    exit 1
}

# Become the user `files` for the rest of a command.
files() {
    HOME=/home/files exec setpriv --reuid files --regid files --init-groups --inh-caps=-all "$@"
}

[ $# -eq 0 ] || exec tini -- "$@"

password=no
case $(id -u) in
    1000)
        [ -z "${HOST_PASSWORD_FILE:-}" ] ||
            refuse "HOST_PASSWORD_FILE is set, but only root can check a password: set user: root as well, or leave HOST_PASSWORD_FILE out"
        "$here/prepare.sh"
        ;;
    0)
        [ -n "${HOST_PASSWORD_FILE:-}" ] || files "$0"
        [ -r "$HOST_PASSWORD_FILE" ] && [ -f "$HOST_PASSWORD_FILE" ] ||
            refuse "HOST_PASSWORD_FILE=$HOST_PASSWORD_FILE is no file that can be read: mount one there that holds the password in one line"
        # The file goes on as it is, so that the password is on no command line.
        [ "$(grep -ac . "$HOST_PASSWORD_FILE")" = 1 ] ||
            refuse "HOST_PASSWORD_FILE=$HOST_PASSWORD_FILE must hold the password in one line, and nothing else"
        said=$({ printf 'files:' && grep -a . "$HOST_PASSWORD_FILE"; } | chpasswd --crypt-method YESCRYPT 2>&1) ||
            refuse "the password of HOST_PASSWORD_FILE can't be set, is the container's file system read-only? $said"
        (files "$here/prepare.sh")
        mkdir -p /run/sshd
        password=yes
        ;;
    *) refuse "the container runs as uid $(id -u), but sshd serves the user files: set user: 1000:1000" ;;
esac
exec tini -- /usr/sbin/sshd -D -e -o PasswordAuthentication="$password"
