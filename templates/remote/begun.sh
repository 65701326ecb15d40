# shellcheck shell=sh
# One line for any login shell: so no single quotes here.
# The bytes of the files that rsync was interrupted in, below the target: of each the next copy goes on from there.
IFS= read -r root
case $root in -*) root=./$root ;; esac
cd "$root" 2>/dev/null || exit 0
echo
echo "begun $(find . -type f -path "*/.fs-sync/*" ! -path "*/.fs-sync/*/*" -exec stat -c %s {} + 2>/dev/null | awk "{ sum += \$1 } END { printf \"%.0f\", sum }")"
