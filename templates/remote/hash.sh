# shellcheck shell=sh
# One line for any login shell: so no single quotes here.
# shellcheck disable=SC2064,SC2086,SC2209
LC_ALL=C
export LC_ALL
IFS= read -r root
case $root in -*) root=./$root ;; esac
cd "$root" || exit 9
command -v openssl >/dev/null 2>&1 || command -v sha256sum >/dev/null 2>&1 || { echo "neither openssl nor sha256sum is installed" >&2; exit 8; }
dir=$(mktemp -d) || exit 8
trap "rm -rf \"$dir\"" EXIT
trap "exit 143" TERM HUP
cat >"$dir/all" || exit 8
odd=$(printf "\001\015")
grep -v "[$odd\]" "$dir/all" >"$dir/plain"
[ $? -le 1 ] || exit 8
if command -v openssl >/dev/null 2>&1; then hash="openssl dgst -sha256 -r"; else hash=sha256sum; fi
if [ -s "$dir/plain" ]; then sed "s|^|./|" "$dir/plain" | tr "\n" "\000" | xargs -0 -n 500 $hash | sed "s|^\([0-9a-f]*\) [ *][.]/|\1  |"; fi
grep "[$odd\]" "$dir/all" | while IFS= read -r name; do
  file=$(printf "%s" "$name" | tr "\001" "\n"; echo .)
  got=$($hash <"./${file%.}") && printf "%s  %s\n" "${got%% *}" "$name"
done
