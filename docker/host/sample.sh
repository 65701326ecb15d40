#!/bin/sh
# Make ~/outbox, a small tree with what a copy may trip over, unless there is one. It is the same wherever it is made.
set -eu

NEW=$HOME/.outbox.new
ZERO=00000000000000000000000000000000

[ ! -e "$HOME/outbox" ] && [ ! -L "$HOME/outbox" ] || exit 0
# Half a tree is never seen under the final name.
rm -rf "$NEW"
mkdir -p "$NEW/empty"
cd "$NEW"

number=0
while IFS= read -r name; do
    number=$((number + 1))
    mkdir -p "./${name%/*}"
    printf 'File %s of the sample tree.\n' "$number" >"./$name"
done <<'NAMES'
./read me.txt
./.settings
albums/2026 summer/beach one.txt
albums/2026 summer/beach two.txt
albums/2026 summer/.order
albums/it's ours/it's a quote.txt
albums/it's ours/say "hi".txt
albums/größe/Straße.txt
albums/größe/café.txt
albums/写真/東京.txt
albums/写真/📁.txt
-names/-rf
-names/--delete
-names/-n.txt
names/#comment
names/;comment
names/100%s
names/a&b
names/a*b?.txt
names/[one] {two}
names/$(date).txt
names/`date`.txt
names/host:path
names/~
names/back\slash
NAMES
: >names/nothing
for month in 1 2 3; do
    mkdir -p reports/2026
    seq -f "$month,%07.0f,row" 50000 >"reports/2026/0$month.csv"
done
# Large enough for the step `transfer`. A cipher's stream over zeros: the same bytes everywhere, and no smaller when compressed.
head -c 80000000 /dev/zero | openssl enc -aes-128-ctr -K "$ZERO" -iv "$ZERO" -out big.bin
ln -s 'read me.txt' link
find . -exec touch -h -d '2026-01-02 03:04:05 UTC' {} +

mv -T "$NEW" "$HOME/outbox"
