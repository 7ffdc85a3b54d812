# Runs on the login node: submit.sh OUTPUT_DIR NAME SCRIPT SECONDS, with the attempt's directory as a tar archive on
# standard input. Prints the ID of the attempt's job, existing or new.
# Exit status: 65 Slurm rejects the job, 73 the directory cannot be created, 74 it cannot be written, 75 unknown yet.
umask 077
trap '' HUP PIPE TERM
state=$1/$2/state
fresh=
mkdir -p "$1" && { mkdir "$1/$2" 2>/dev/null && fresh=1 || [ -d "$1/$2" ]; } && mkdir -p "$state" || exit 73

# Print the job ID if the first job to start has recorded it, or else if sbatch's answer was recorded.
recorded() {
    for file in owner submitted; do
        [ ! -s "$state/$file" ] || { cat "$state/$file" && exit 0; }
    done
}
recorded

# Only the process that creates this file submits. The file expires once its sbatch cannot be running any more.
# NOTE: its age is measured by the file system's clock, since the clocks of login nodes differ.
mine="$(date +%s) $$ $(hostname)"
age() {
    : >"$state/.now.$$" && echo $(($(stat -c %Y "$state/.now.$$") - $(stat -c %Y "$state/intent" || echo 0)))
    rm -f "$state/.now.$$"
}
release() { [ "$(cat "$state/intent" 2>/dev/null)" != "$mine" ] || rm -f "$state/intent"; }
if ! (set -o noclobber && echo "$mine" >"$state/intent") 2>/dev/null; then
    [ -w "$state" ] || exit 73
    since=$(age 2>/dev/null)
    if [ "${since:-0}" -le $(($4 + 2)) ]; then
        echo "another process is submitting it" >&2
        exit 75
    fi
    echo "$mine" >"$state/intent" || exit 74
fi

recorded
jobs=$(squeue -h --me -t all -n "$2" -o %i) || { release; exit 75; }
[ -n "$fresh$jobs" ] || jobs=$(sacct -X -n -P --name="$2" --starttime=now-30days --format=JobIDRaw 2>/dev/null)
if [ -n "$jobs" ]; then
    release
    printf '%s\n' "$jobs" | sort -n | head -n 1
    exit 0
fi

rm -f "$state/complete"
if ! tar -x -m -o -C "$1/$2" -f - 2>"$state/refusal" || [ ! -s "$state/complete" ]; then
    cat "$state/refusal" >&2
    release
    exit 74
fi

[ "$(cat "$state/intent")" = "$mine" ] || exit 75
timeout -k 1 "$4" sbatch --parsable "$1/$2/$3" >"$state/answer" 2>"$state/refusal" </dev/null
code=$?
id=$(sed 's/;.*//' "$state/answer")
case $code:$id in
0:[0-9]*)
    echo "$id" >"$state/.submitted" && mv "$state/.submitted" "$state/submitted"
    release
    echo "$id"
    exit 0
    ;;
esac
cat "$state/refusal" >&2
# If the request reached the controller and the answer was lost, the job may exist.
if [ "$code" -ge 124 ] || grep -qiE 'timed out|connect|contact|temporarily|try again|send.recv' "$state/refusal"; then
    exit 75
fi
release
exit 65
