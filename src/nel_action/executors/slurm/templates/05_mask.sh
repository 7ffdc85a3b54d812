# Replace secrets in the logs of an attempt: mask_logs DIRECTORY. Used by the job itself, and, where that was killed, by the
# next command on the login node. The lines `#form …` of .secrets.env are all forms in which a secret may occur, the longest
# first; variables that exist only where the job runs are named by NEL_RUNTIME_SECRETS. Nothing is passed as an argument.
mask_logs() {
    local file
    [ -r "$1/.secrets.env" ] || return 0
    for file in "$1"/logs/{client,server-*,aux_*}.log; do
        [ -s "$file" ] || continue
        if (
            umask 077
            LC_ALL=C NEL_SECRET_NAMES=${NEL_RUNTIME_SECRETS-} awk '
                BEGIN {
                    names = split(ENVIRON["NEL_SECRET_NAMES"], name, " ")
                    for (n = 1; n <= names; n++) {
                        parts = split(ENVIRON[name[n]], line, "\n")
                        for (p = 1; p <= parts; p++) if (length(line[p]) >= 4) hidden[++count] = line[p]
                    }
                }
                FILENAME == ARGV[1] {
                    if (sub(/^#form /, "")) hidden[++count] = $0
                    next
                }
                {
                    for (h = 1; h <= count; h++) while (at = index($0, hidden[h]))
                        $0 = substr($0, 1, at - 1) "***" substr($0, at + length(hidden[h]))
                    print
                }' "$1/.secrets.env" "$file" >"$file.masked"
        ); then
            mv -f "$file.masked" "$file"
        else
            rm -f "$file.masked"
            echo "cannot mask secrets in $file; check the free space on the file system" >&2
        fi
    done
}

