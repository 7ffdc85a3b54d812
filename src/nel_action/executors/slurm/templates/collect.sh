# Runs on the login node: collect.sh DIRECTORY... Prints records, each terminated by a zero byte: the directory's position
# among the arguments, a kind, a size and a text. Kinds: the digest of a file to collect, with its path; "exit", with the
# exit record; "unreadable". Links and devices are skipped. Removes the secrets of finished attempts.
number=0
for directory; do
    if cd "$directory" 2>/dev/null; then
        if [ -s state/exit.json ]; then
            [ ! -e .secrets.env ] || mask_logs . >&2 # the job was killed before it could do this
            rm -f .secrets.env
            printf '%d exit 0 %s\0' "$number" "$(cat state/exit.json)"
        fi
        for folder in run/artifacts logs; do
            [ ! -d "$folder" ] || find "$folder" -type f -print0
        done | while IFS= read -r -d '' file; do
            printf '%d %s %s %s\0' "$number" "$(sha256sum <"$file" | cut -c 1-64)" "$(stat -c %s "$file")" "$file"
        done
    else
        printf '%d unreadable 0 %s\0' "$number" "$directory"
    fi
    number=$((number + 1))
done
