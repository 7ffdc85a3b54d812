# Runs on the login node: submit.sh OUTPUT_DIR NAME SCRIPT SECONDS, with the attempt's directory as an archive on
# standard input. Prints the job's id, whether it was there before or is new.
# Status: 65 Slurm refuses the job, 73 the directory cannot be made, 74 it cannot be filled, 75 nobody knows yet.
umask 077
trap '' HUP PIPE TERM
state=$1/$2/state
fresh=
mkdir -p "$1" && { mkdir "$1/$2" 2>/dev/null && fresh=1 || [ -d "$1/$2" ]; } && mkdir -p "$state" || exit 73

# The first job that started has written its id, or sbatch's answer was kept.
recorded() {
    for file in owner submitted; do
        [ ! -s "$state/$file" ] || { cat "$state/$file" && exit 0; }
    done
}
recorded

# One at a time: whoever makes this file submits; it is void once its sbatch cannot be under way any more.
# NOTE: its age is told by the file system's clock alone, since login nodes disagree about the time.
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
        echo "it is being submitted at this moment" >&2
        exit 75
    fi
    echo "$mine" >"$state/intent" || exit 74
fi

recorded
found=$(squeue -h --me -t all -n "$2" -o %i) || { release; exit 75; }
[ -n "$fresh$found" ] || found=$(sacct -X -n -P --name="$2" --starttime=now-30days --format=JobIDRaw 2>/dev/null)
if [ -n "$found" ]; then
    release
    printf '%s\n' "$found" | sort -n | head -n 1
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
# Where the controller was asked and its answer was not heard, the job may be there.
if [ "$code" -ge 124 ] || grep -qiE 'timed out|connect|contact|temporarily|try again|send.recv' "$state/refusal"; then
    exit 75
fi
release
exit 65
