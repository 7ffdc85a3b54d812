# ---- Who this is, and how it ends -------------------------------------------------------------------------------

trap '' USR1 # may come at once, and would end this shell

state=$NEL_DIR/state
me=${SLURM_JOB_ID:?run this with sbatch}
began=$(date +%s)
export SLURM_EXPORT_ENV=ALL # steps see what this shell gives them, whatever sbatch was told
next= # the job that would continue this one
declare -A servers=() # process ids of what serves, by name
evaluation= # process id of the harness

say() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*"; }

# Sleep in a way that a signal can interrupt.
nap() { sleep "$1" & wait "$!"; }

# Write a file whole or not at all: record NAME TEXT
record() { printf '%s\n' "$2" >"$state/.$1.$me" && mv -f "$state/.$1.$me" "$state/$1"; }

# Room for the last words, should the file system be full by then.
reserve() { head -c 16384 /dev/urandom >"$state/.reserve"; }

# Whether this job still has the turn: another may continue it when its node was given up for lost.
has_turn() { [ "$(cat "$state/turn" 2>/dev/null)" = "$me" ]; }

# Ask all programs to end, then make them. A signal to srun would kill them at once, so Slurm is asked to pass it on.
stop_steps() {
    local try sign pid alive
    for sign in ask TERM KILL; do
        for ((try = 0; try < 32; try++)); do
            alive=()
            for pid in $evaluation "${servers[@]}"; do ! kill -0 "$pid" 2>/dev/null || alive+=("$pid"); done
            [ "${#alive[@]}" -gt 0 ] || return
            if [ "$try" -gt 0 ]; then
                sleep 0.25
            elif [ "$sign" = ask ]; then
                timeout 5 scancel -Q -s TERM "$me" || break
            else
                kill "-$sign" "${alive[@]}" 2>/dev/null
            fi
        done
    done
}

# Values of secrets that a program printed are taken out of its log. They are passed by the environment, never as words.
mask_logs() {
    local log secrets
    [ -r "$NEL_DIR/.secrets.env" ] || return 0
    for log in "$NEL_DIR"/logs/{client,server-*,aux_*}.log; do
        [ -s "$log" ] || continue
        for secrets in $(compgen -A function secrets_of_); do if (
            "$secrets"
            umask 077
            LC_ALL=C awk '
                BEGIN {
                    count = split(ENVIRON["NEL_SECRET_NAMES"], names, " ")
                    for (n = 1; n <= count; n++) {
                        parts = split(ENVIRON[names[n]], lines, "\n")
                        for (p = 1; p <= parts; p++) if (length(lines[p]) >= 4) hidden[lines[p]]
                    }
                }
                {
                    for (value in hidden) while (at = index($0, value))
                        $0 = substr($0, 1, at - 1) "***" substr($0, at + length(value))
                    print
                }' "$log" >"$log.masked"
        ); then
            mv -f "$log.masked" "$log"
        else
            rm -f "$log.masked"
            say "cannot hide values of secrets in $log; is the file system full?"
        fi; done
    done
}

# What decides: write_end STATUS REASON. Without it the job has not succeeded.
write_end() {
    local files bytes
    files=$(find "$NEL_DIR/run/artifacts" -type f | wc -l)
    bytes=$(find "$NEL_DIR/run/artifacts" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%.0f", sum }')
    record exit.json "$(printf '{"version": 1, "job": "%s", "status": %d, "reason": "%s", "began": %d, "ended": %d, "seconds": %d, "files": %d, "bytes": %s}' \
        "$me" "$1" "$2" "$first" "$(date +%s)" "$((spent + $(date +%s) - began))" "$files" "$bytes")"
}

# The last act: finish STATUS REASON
finish() {
    trap '' USR1 TERM
    local status=$1 reason=$2 written=
    has_turn || {
        stop_steps
        say "job $(cat "$state/turn") has taken over; leaving it all to that one"
        exit 75
    }
    case $reason in # who is being stopped has little time left, and nothing to complete
    terminated | cancelled) write_end "$status" "$reason" && written=yes ;;
    esac
    stop_steps
    mask_logs
    rm -f "$NEL_DIR/.secrets.env" "$state/.reserve"
    if [ -z "$written" ] && ! write_end "$status" "$reason"; then
        say "cannot write $state/exit.json: is the file system full?"
        [ "$status" -ne 0 ] || status=74
    fi
    [ -z "$next" ] || scancel "$next"
    say "ended with status $status${reason:+ ($reason)}"
    exit "$status"
}

# shellcheck disable=SC2329 # the traps call it
# Stop for now: interrupt REASON. Another job continues where there is one; otherwise this is the end.
interrupt() {
    trap '' USR1 TERM
    say "stopping: $1"
    echo "stop $me $(date +%s) $1" >>"$state/links"
    [ ! -e "$state/cancelled" ] || finish 143 cancelled
    [ -n "$next" ] || finish 124 "$1"
    stop_steps
    exit 124
}

trap 'interrupt time_limit' USR1 # Slurm says that the time limit is near
trap 'interrupt terminated' TERM # cancelled, preempted, or at the time limit: Slurm knows which, we do not
