# Runs on the login node: sweep.sh OUTPUT_DIR DAYS KEY... Takes away values of secrets that no job will read any more,
# because the job that should have done so was killed; and, where DAYS is not 0, directories of attempts that ended longer
# ago. Only directories with our names, of our own, and never those of a job in the queue or of a KEY.
cd "$1" 2>/dev/null || exit 0
days=$2
shift 2
keys=" $* "
queued=$(squeue -h --me -o %j) || exit 0 # no answer is not an empty queue

in_use() { printf '%s\n' "$queued" | grep -qxF -- "$1"; }
ours() { expr "$1" : 'nel-[0-9a-f]\{16\}-[0-9]\{1,\}$' >/dev/null; }

# NOTE: an hour, in which whoever submits has unpacked its archive and got it into the queue.
find . -mindepth 2 -maxdepth 2 -user "$(id -u)" -path './nel-*/.secrets.env' -type f -mmin +60 2>/dev/null |
    while IFS=/ read -r _ name _; do
        if ours "$name" && ! in_use "$name"; then rm -f "$name/.secrets.env"; fi
    done

[ "$days" -gt 0 ] || exit 0
find . -mindepth 3 -maxdepth 3 -user "$(id -u)" -path './nel-*/state/exit.json' -type f -mtime "+$((days - 1))" 2>/dev/null |
    while IFS=/ read -r _ name _; do
        case $keys in *" ${name%-*} "*) continue ;; esac
        if ! ours "$name" || [ ! -f "$name/job.json" ] || in_use "$name"; then continue; fi
        # At once, so that nobody finds half of it.
        mv "$name" ".gone-$name" && rm -rf --one-file-system "./.gone-$name" && echo "removed $name"
    done
