# Runs on the login node: sweep.sh OUTPUT_DIR DAYS KEY... Removes secrets that no job will read any more, where the job
# that should have removed them was killed; and, unless DAYS is 0, directories of attempts that finished more days ago.
# Only the user's own directories with an attempt's name; never those of a job in the queue or of a KEY.
cd "$1" 2>/dev/null || exit 0
days=$2
shift 2
keys=" $* "
queued=$(squeue -h --me -o %j) || exit 0 # without an answer, every job may be in the queue

in_use() { printf '%s\n' "$queued" | grep -qxF -- "$1"; }
is_attempt() { expr "$1" : 'nel-[0-9a-f]\{16\}-[0-9]\{1,\}$' >/dev/null; }

# NOTE: within an hour, a submitter has extracted its archive and its job is in the queue.
find . -mindepth 2 -maxdepth 2 -user "$(id -u)" -path './nel-*/.secrets.env' -type f -mmin +60 2>/dev/null |
    while IFS=/ read -r _ name _; do
        if is_attempt "$name" && ! in_use "$name"; then
            mask_logs "$name"
            rm -f "$name/.secrets.env"
        fi
    done

# What a submitter had uploaded when it was killed.
find . -mindepth 1 -maxdepth 1 -user "$(id -u)" -name '.nel-incoming-*' -type d -mmin +60 -exec rm -rf {} + 2>/dev/null

# Records of requests whose last answer is too old, unless a job of their key is in the queue.
find record -mindepth 2 -maxdepth 2 -user "$(id -u)" -type d 2>/dev/null |
    while IFS=/ read -r _ key number; do
        case $keys in *" $key "*) continue ;; esac
        if printf '%s\n' "$queued" | grep -q "^$key-"; then continue; fi
        read -r keep 2>/dev/null <"record/$key/$number/keep_days" || keep=7
        if [ -z "$(find "record/$key/$number" -mtime "-$keep" 2>/dev/null | head -n 1)" ]; then
            rm -rf --one-file-system "record/$key/$number" && rmdir "record/$key" 2>/dev/null
        fi
    done

[ "$days" -gt 0 ] || exit 0
find . -mindepth 3 -maxdepth 3 -user "$(id -u)" -path './nel-*/state/exit.json' -type f -mtime "+$((days - 1))" 2>/dev/null |
    while IFS=/ read -r _ name _; do
        case $keys in *" ${name%-*} "*) continue ;; esac
        if ! is_attempt "$name" || [ ! -f "$name/job.json" ] || in_use "$name"; then continue; fi
        # Renamed first, so that no partly removed directory is visible under its name.
        mv "$name" ".gone-$name" && rm -rf --one-file-system "./.gone-$name" && echo "removed $name"
    done
