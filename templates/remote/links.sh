# shellcheck shell=sh
# One line for any login shell: so no single quotes here.
# The symbolic links of the target, a newline in a name as byte 001.
LC_ALL=C
export LC_ALL
IFS= read -r root
case $root in -*) root=./$root ;; esac
echo
echo "fs-sync links"
cd "$root" 2>/dev/null || exit 0
find . -type l -print0 | tr "\n\000" "\001\n"
