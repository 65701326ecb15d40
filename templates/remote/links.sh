# shellcheck shell=sh
# One line for any login shell: so no single quotes here.
# The symbolic links of the target, a newline in a name as byte 001; where names follow the path, only those among them.
LC_ALL=C
export LC_ALL
IFS= read -r root
case $root in -*) root=./$root ;; esac
echo
echo "fs-sync links"
cd "$root" 2>/dev/null || exit 0
if IFS= read -r first; then
{ printf "%s\n" "$first"; cat; } | sed "s|^|./|" | tr "\n\001" "\000\n" |
xargs -0 -n 500 sh -c "find \"\$@\" -maxdepth 0 -type l -print0 2>/dev/null" sh | tr "\n\000" "\001\n"
else
find . -type l -print0 | tr "\n\000" "\001\n"
fi
