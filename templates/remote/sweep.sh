# shellcheck shell=sh
# One line for any login shell: so no single quotes here.
# Removes what rsync was interrupted in a day ago and longer. After the root come the names that are still to be gone on with.
IFS= read -r root
case $root in -*) root=./$root ;; esac
cd "$root" 2>/dev/null || exit 0
parts() { find . -type f -path "*/.fs-sync/*" "$@" -print 2>/dev/null | grep "^\./" | grep "/\.fs-sync/[^/]*\$"; }
{ cat; echo //; parts -mtime +0; } | awk "\$0 == \"//\" { listed = 1; next } listed == 0 { keep[\$0] = 1; next } { n = substr(\$0, 3); sub(/\.fs-sync\/[^\/]*\$/, \"\", n); f = \$0; sub(/.*\//, \"\", f); if ((n f in keep) == 0) print }" | {
  files=0 bytes=0
  while IFS= read -r file; do
    at=${file%/*}
    set -- "$at"/*/
    if [ -d "$1" ]; then continue; fi
    size=$(stat -c %s "$file" 2>/dev/null || echo 0)
    if rm -f "$file"; then files=$((files + 1)) bytes=$((bytes + size)); fi
    rmdir "$at" 2>/dev/null
  done
  echo
  echo "swept $files $bytes $(parts -mtime -1 | grep -c "")"
}
