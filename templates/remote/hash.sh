# shellcheck shell=sh
# One line for any login shell: so no single quotes here.
# shellcheck disable=SC2064,SC2086,SC2209
IFS= read -r root
cd "$root" || exit 9
dir=$(mktemp -d) || exit 9
trap "rm -rf \"$dir\"" EXIT
trap "exit 143" TERM HUP
cat >"$dir/all"
odd=$(printf "\001\015")
grep -v "[$odd\]" "$dir/all" >"$dir/plain"
if command -v openssl >/dev/null 2>&1; then hash="openssl dgst -sha256 -r"; else hash=sha256sum; fi
if [ -s "$dir/plain" ]; then sed "s|^|./|" "$dir/plain" | tr "\n" "\000" | xargs -0 -n 500 $hash | sed "s|^\([0-9a-f]*\) [ *][.]/|\1  |"; fi
grep "[$odd\]" "$dir/all" | while IFS= read -r name; do
  file=$(printf "%s" "$name" | tr "\001" "\n"; echo .)
  got=$($hash <"./${file%.}") && printf "%s  %s\n" "${got%% *}" "$name"
done
