#!/bin/sh
# A forced command that lets an account run `rsync --server` and nothing else.
# Usage: ForceCommand sh rsync_only.sh
set -eu

case "${SSH_ORIGINAL_COMMAND:-}" in
'rsync --server '*) ;;
*)
    echo 'this account may only run rsync --server' >&2
    exit 1
    ;;
esac
cd "$HOME"
# The client quoted its words for a shell, so a shell has to read them.
exec sh -c "exec $SSH_ORIGINAL_COMMAND"
