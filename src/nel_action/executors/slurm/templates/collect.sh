# Runs on the login node: collect.sh DIRECTORY. Prints digest, size and path of every file that is brought home, each
# ended by a zero byte. Links and devices are left out. What has ended needs no secrets any more.
cd "$1" || exit 73
[ ! -s state/exit.json ] || rm -f .secrets.env
for folder in run/artifacts logs; do
    [ ! -d "$folder" ] || find "$folder" -type f -print0
done | while IFS= read -r -d '' file; do
    printf '%s %s %s\0' "$(sha256sum <"$file" | cut -c 1-64)" "$(stat -c %s "$file")" "$file"
done
