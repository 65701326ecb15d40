#!/bin/sh
# As the user `files`: check what sshd needs, in one line each where sshd would say it in its log alone; make the sample tree.
set -eu

KEY=/secrets/ssh_host_ed25519_key
LOGINS=/secrets/authorized_keys
MEND='mount the volume at /secrets that the service "secrets" of docker-compose.yml fills'

# Given what is wrong and how to mend it, end with one line.
refuse() {
    printf 'fs-sync-host: %s\n' "$*" >&2
    exit 1
}

[ ! -d "${KEY%/*}" ] || [ -x "${KEY%/*}" ] || refuse "${KEY%/*} can't be entered by the user files: chmod it to 0755"
for file in "$KEY" "$LOGINS"; do
    [ -e "$file" ] || refuse "$file is missing: $MEND"
    [ -r "$file" ] || refuse "$file can't be read by the user files: chown it to 1000:1000, mode 0400"
    [ -f "$file" ] && [ -s "$file" ] || refuse "$file is not a file, or is empty: $MEND"
done
# ssh-keygen minds the mode as sshd does.
if ! said=$(ssh-keygen -y -P '' -f "$KEY" 2>&1 </dev/null); then
    case $said in
        *'too open'*) refuse "$KEY can be read by others than its owner: chmod it to 0400" ;;
        *) refuse "$KEY is no private key without a passphrase: make one with ssh-keygen -t ed25519 -N ''" ;;
    esac
fi
case $said in
    'ssh-ed25519 '*) ;;
    *) refuse "$KEY is ${said%% *}, but must be Ed25519: make one with ssh-keygen -t ed25519 -N ''" ;;
esac
# What sshd calls StrictModes.
loose=$(find "${LOGINS%/*}" "$LOGINS" -maxdepth 0 \( -perm /022 -o ! -uid 0 ! -uid 1000 \) -print -quit)
[ -z "$loose" ] || refuse "$loose can be changed by others than files and root: chown it to 1000:1000 and chmod it go-w"

[ -w "$HOME" ] && [ -x "$HOME" ] || refuse "$HOME can't be written by the user files: mount a volume there that belongs to 1000:1000"
if [ "${DEMO_FILES:-}" = 1 ]; then
    said=$("${0%/*}/sample.sh" 2>&1) ||
        refuse "the sample tree can't be made below $HOME: make room there, or leave DEMO_FILES out: $(printf '%s' "$said" | tr '\n' ' ')"
fi
