# shellcheck shell=sh
# One line for any login shell: so no single quotes here.
# shellcheck disable=SC2064,SC2086,SC2209
IFS= read -r dst
case $dst in -*) dst=./$dst ;; esac
echo
echo "fs-sync shell"
echo "host $(uname -n)"
echo "boot $(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
if [ -d "$dst" ]; then state=dir; elif [ -e "$dst" ] || [ -h "$dst" ]; then state=file; else state=missing; fi
up=$dst
until [ -d "$up" ]; do
  case $up in */*) up=${up%/*}; up=${up:-/} ;; *) up=. ;; esac
done
if [ -w "$up" ] && [ -x "$up" ]; then :; else state=$state-closed; fi
echo "state $state"
if [ "$state" = dir ]; then echo "at $(stat -c %d:%i "$up")"; fi
at=$(cd "$up" && pwd -P)
above=
while :; do
  above="$above $(stat -c %d:%i "$at")"
  [ "$at" = / ] && break
  at=${at%/*}
  at=${at:-/}
done
echo "above$above"
echo "free $(df -Pk "$up" | awk "NR == 2 { for (i = NF; i > 4; i--) if (\$i ~ /^[0-9]+%/ && \$(i - 3) > 0) { print \$(i - 1); exit } }")"
echo "inodes $(df -Pi "$up" 2>/dev/null | awk "NR == 2 { for (i = NF; i > 4; i--) if (\$i ~ /^[0-9]+%/ && \$(i - 3) > 0) { print \$(i - 1); exit } }")"
for tool in rsync rclone openssl sha256sum; do
  if command -v $tool >/dev/null 2>&1; then echo "tool $tool"; fi
done
echo "rsync $(rsync --version 2>/dev/null | sed -n "1s/^rsync  *version  *v*\([0-9.]*\).*/\1/p")"
