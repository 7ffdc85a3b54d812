# Runs on the login node: submit.sh OUTPUT_DIR SECONDS, with a .tar.gz archive on standard input: the file `list` (lines of
# an attempt's name and its script), a directory for each attempt, and the file `complete`. Prints a line for each
# attempt: NAME STATUS TEXT. TEXT is the job's ID, existing or new, for status 0, and else the cause: 65 Slurm rejects
# the job, 66 it accepts no further job now, 73 the directory cannot be created, 74 it cannot be written, 75 unknown yet,
# 76 not tried because of an earlier attempt in the list.
umask 077
trap '' HUP PIPE TERM
output=$1
seconds=$2
nl='
'
mkdir -p "$output" && incoming=$(mktemp -d "$output/.nel-incoming-XXXXXX") || exit 73
trap 'rm -rf "$incoming"' EXIT
error=$(tar -x -z -m -o -C "$incoming" -f - 2>&1)
if [ ! -s "$incoming/complete" ]; then
    echo "${error:-the archive is incomplete}" >&2
    exit 74
fi

# The gateway's program, which all attempts share; its name is a digest of its content.
if [ -d "$incoming/gateway" ]; then
    mkdir -p "$output/gateway"
    for file in "$incoming"/gateway/*.pyz; do
        if [ ! -s "$output/gateway/${file##*/}" ]; then mv "$file" "$output/gateway/"; fi
    done
fi

# Print the answer for the current attempt: answer STATUS TEXT
# NOTE: never fails, although the caller may have closed the connection: what follows an answer must not run.
answer() {
    case $2 in
    *"$nl"*) echo "$name $1 $(printf '%s' "$2" | tr '\n' ' ')" ;;
    *) echo "$name $1 $2" ;;
    esac 2>/dev/null || true
}

# Set $id to the job ID if the first job to start has recorded it, or else if sbatch's answer was recorded.
look_up_record() {
    id=
    for file in owner submitted; do
        if [ -s "$state/$file" ] && read -r id <"$state/$file"; then return; fi
    done
}

# Only the process that creates the intent submits. It expires once its sbatch cannot be running any more.
# NOTE: its age is measured by the file system's clock, since the clocks of login nodes differ.
mine="$(date +%s) $$ $(hostname)"
age() {
    : >"$state/.now.$$" && echo $(($(stat -c %Y "$state/.now.$$") - $(stat -c %Y "$state/intent" || echo 0)))
    rm -f "$state/.now.$$"
}
is_mine() { intent='' && read -r intent 2>/dev/null <"$state/intent" && [ "$intent" = "$mine" ]; }
released=
release() { if is_mine; then released="$released$state/intent$nl"; fi; }
release_all() {
    [ -z "$released" ] || printf '%s' "$released" | tr '\n' '\0' | xargs -0 rm -f
    released=
}
claim() {
    if (set -o noclobber && echo "$mine" >"$state/intent") 2>/dev/null; then return; fi
    if [ ! -w "$state" ]; then
        answer 73 "$state is not writable" && return 1
    fi
    since=$(age 2>/dev/null)
    if [ "${since:-0}" -le $((seconds + 2)) ]; then
        answer 75 "another process is submitting it" && return 1
    fi
    if echo "$mine" >"$state/intent"; then return; fi
    answer 74 "cannot write $state/intent"
    return 1
}

# Add an attempt to the current group. A new one is claimed by moving its directory, which contains the intent, into
# place; for an existing one the intent is created, unless its job is known: prepare NAME SCRIPT
prepare() {
    name=$1 state=$output/$1/state
    if [ ! -d "$incoming/$name" ]; then
        group="$group$name $2$nl"
        return
    fi
    if ! error=$(mkdir -p "$state" 2>&1); then
        answer 73 "$error" && return
    fi
    look_up_record
    [ -z "$id" ] || { answer 0 "$id" && return; }
    claim || return
    look_up_record
    if [ -n "$id" ]; then
        release
        answer 0 "$id" && return
    fi
    group="$group$name $2$nl"
    old="$old,$name"
}

# Give up an attempt that was not submitted: its secrets must not stay.
withdraw() {
    case "$old," in
    *",$name,"*) release && rm -f "$directory/.secrets.env" ;;
    *) if is_mine; then mv "$directory" "$incoming/.withdrawn-$name"; fi ;;
    esac
}

# Submit an attempt of the group, unless its job exists: submit NAME SCRIPT
submit() {
    name=$1 directory=$output/$1 state=$output/$1/state
    case "$nl$existing$nl" in
    *"$nl$name "*)
        id=$nl$existing
        id=${id#*"$nl$name "}
        release
        answer 0 "${id%%"$nl"*}" && return
        ;;
    esac
    if [ -n "$halt" ]; then
        withdraw
        answer "$halt" "$halt_cause" && return
    fi
    if ! is_mine; then
        answer 75 "another process is submitting it" && return
    fi
    case "$old," in *",$name,"*)
        rm -rf "$directory/files" "$directory/logs" "$directory/run" "$incoming/$name/state"
        if ! error=$(mv "$incoming/$name"/* "$incoming/$name/.secrets.env" "$directory/" 2>&1); then
            release
            answer 74 "$error" && return
        fi
        ;;
    esac
    # NOTE: renewed, since earlier attempts of the group may have taken long.
    if ! is_mine || ! echo "$mine" >"$state/intent"; then
        answer 75 "another process is submitting it" && return
    fi
    : >"$state/code"
    {
        timeout -k 1 "$seconds" sbatch --parsable "$directory/$2"
        echo $? >"$state/code"
    } >"$state/answer" 2>"$state/refusal" </dev/null &
    running="$running $name"
    # shellcheck disable=SC2086 # names
    set -- $running
    [ $# -lt 4 ] || conclude
}

# Wait for the sbatch commands that are running, and answer for their attempts.
running=
conclude() {
    wait
    for name in $running; do
        directory=$output/$name state=$output/$name/state code='' id=''
        read -r code <"$state/code"
        read -r id <"$state/answer"
        id=${id%%;*}
        case $code:$id in
        0:[0-9]*)
            # NOTE: one write of a few bytes; a reader that sees the file empty looks the job up instead.
            echo "$id" >"$state/submitted" && release
            answer 0 "$id"
            ;;
        *) refused "$(cat "$state/refusal")" ;;
        esac
    done
    running=
}

# Answer for a job that sbatch did not accept: refused ERROR
refused() {
    status=65
    case $1 in
    *"temporarily unable to accept job"* | *GrpSubmitJob* | *"inactive or drain"*) status=66 ;;
    # A limit of 0 belongs to an account that must not be used; it passes only if it is reached by jobs in the queue.
    *MaxSubmitJob*) [ -z "$(squeue -h --me)" ] || status=66 ;;
    *"job submit limit"*) # does not name the limit
        case $1 in *Per[JUA]*Limit* | *Max*Limit* | *Grp*Limit*) ;; *) [ -z "$(squeue -h --me)" ] || status=66 ;; esac
        ;;
    *) # if the request reached the controller and the answer was lost, the job may exist
        if [ "${code:-124}" -ge 124 ] ||
            printf '%s' "$1" | grep -qiE 'timed out|connect|contact|temporarily|try again|send.recv'; then
            status=75 halt=76 halt_cause=$1
            answer 75 "${1:-sbatch did not answer}" && return
        fi
        ;;
    esac
    [ "$status" != 66 ] || halt=66 halt_cause=$1
    rm -f "$directory/.secrets.env"
    release
    answer "$status" "$1"
}

# Look the jobs of the group up, then submit those that do not exist.
submit_group() {
    [ -n "$group" ] || return
    if ! rows=$(squeue -h --me -t all -o '%j %i' 2>"$incoming/error"); then
        halt=75 halt_cause=$(cat "$incoming/error")
    elif [ -n "$old" ]; then
        rows="$rows$nl$(sacct -X -n -P --name="${old#,}" --starttime=now-30days --format=JobName,JobIDRaw \
            2>/dev/null | tr '|' ' ')"
    fi
    existing=$(printf '%s\n' "$rows" | sort -n -k 2 | awk '!($1 in seen) { seen[$1]; print }')
    while read -r name script; do submit "$name" "$script"; done <<END
${group%"$nl"}
END
    conclude
    release_all
    group='' old=''
}

# Claim the attempts in $lines and submit them.
process() {
    set --
    while read -r name script; do
        echo "$mine" >"$incoming/$name/state/intent"
        set -- "$@" "$incoming/$name"
    done <<END
${lines%"$nl"}
END
    mv "$@" "$output/" 2>/dev/null # fails for directories that exist
    while read -r name script; do prepare "$name" "$script"; done <<END
${lines%"$nl"}
END
    submit_group
    release_all
    lines=''
}

# NOTE: in groups, so that an intent is soon followed by its sbatch.
lines='' group='' old='' halt='' halt_cause='' count=0
while read -r name script <&3; do
    lines="$lines$name $script$nl"
    count=$((count + 1))
    [ $((count % 50)) -ne 0 ] || process
done 3<"$incoming/list"
[ -z "$lines" ] || process
exit 0
