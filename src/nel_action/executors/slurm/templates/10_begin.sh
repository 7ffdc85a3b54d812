# ---- Identity, and how the job finishes -----------------------------------------------------------------------------

trap '' USR1 # may arrive before the handler below is set, and would kill this shell

state=$NEL_DIR/state
me=${SLURM_JOB_ID:?run this with sbatch}
began=$(date +%s)
export SLURM_EXPORT_ENV=ALL # steps inherit this shell's environment, whatever the options of sbatch were
next= # the job that would continue this one
declare -A servers=() keepers=() # process IDs by instance: the servers, and what keeps and watches their ports
evaluation= # process ID of the harness
gateway=() # command that runs the harness behind the proxy; empty for a direct connection

log() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*"; }

# Sleep such that a signal interrupts it: pause SECONDS
pause() { sleep "$1" & wait "$!"; }

# Write a file atomically: record NAME TEXT
record() { printf '%s\n' "$2" >"$state/.$1.$me" && mv -f "$state/.$1.$me" "$state/$1"; }

# Reserve disk space for the exit record, in case the file system fills up.
reserve() { head -c 16384 /dev/urandom >"$state/.reserve"; }

# Whether this job is the attempt's current job: another one may have taken over after this node was given up for lost.
is_current() { [ "$(cat "$state/turn" 2>/dev/null)" = "$me" ]; }

# Ask all programs to exit, then kill them. srun would kill them immediately on a signal, so Slurm delivers the first.
stop_steps() {
    local try signal pid alive
    for signal in ask TERM KILL; do
        for ((try = 0; try < 32; try++)); do
            alive=()
            for pid in $evaluation "${servers[@]}"; do ! kill -0 "$pid" 2>/dev/null || alive+=("$pid"); done
            [ "${#alive[@]}" -gt 0 ] || break 2
            if [ "$try" -gt 0 ]; then
                sleep 0.25
            elif [ "$signal" = ask ]; then
                timeout 5 scancel -Q -s TERM "$me" || break
            else
                kill "-$signal" "${alive[@]}" 2>/dev/null
            fi
        done
    done
    [ "${#keepers[@]}" -eq 0 ] || kill "${keepers[@]}" 2>/dev/null
}

# Write the exit record, without which the attempt has not succeeded: write_exit_record STATUS REASON
write_exit_record() {
    local files bytes
    files=$(find "$NEL_DIR/run/artifacts" -type f | wc -l)
    bytes=$(find "$NEL_DIR/run/artifacts" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%.0f", sum }')
    record exit.json "$(printf '{"version": 1, "job": "%s", "status": %d, "reason": "%s", "began": %d, "ended": %d, "seconds": %d, "files": %d, "bytes": %s}' \
        "$me" "$1" "$2" "$first" "$(date +%s)" "$((spent + $(date +%s) - began))" "$files" "$bytes")"
}

# Finish the attempt: finish STATUS REASON
finish() {
    trap '' USR1 TERM
    local status=$1 reason=$2 written=
    is_current || {
        stop_steps
        log "job $(cat "$state/turn") has taken over this attempt; stopping"
        exit 75
    }
    case $reason in # Slurm leaves little time, and there is no success to complete: write the record first
    terminated | cancelled) write_exit_record "$status" "$reason" && written=yes ;;
    esac
    stop_steps
    mask_logs "$NEL_DIR"
    rm -f "$NEL_DIR/.secrets.env" "$state/.reserve"
    if [ -z "$written" ] && ! write_exit_record "$status" "$reason"; then
        log "cannot write $state/exit.json; check the free space on the file system"
        [ "$status" -ne 0 ] || status=74
    fi
    [ -z "$next" ] || scancel "$next"
    log "finished with status $status${reason:+ ($reason)}"
    exit "$status"
}

# shellcheck disable=SC2329 # called by the traps
# Stop this job; its continuation goes on, or else the attempt is finished: interrupt REASON
interrupt() {
    trap '' USR1 TERM
    log "stopping: $1"
    echo "stop $me $(date +%s) $1" >>"$state/links"
    [ ! -e "$state/cancelled" ] || finish 143 cancelled
    # NOTE: without a continuation, because a limit on submitted jobs refused it, this job itself is queued again.
    if [ -z "$next" ] && [ "$1" = time_limit ] && [ "${runs:-0}" -lt "$NEL_RESUMES" ] && is_current; then
        stop_steps
        timeout 20 scontrol update "JobId=$me" Requeue=1 && timeout 20 scontrol requeue "$me" && exit 124
        log "cannot queue this job again"
    fi
    [ -n "$next" ] || finish 124 "$1"
    stop_steps
    exit 124
}

trap 'interrupt time_limit' USR1 # Slurm's warning before the time limit
trap 'interrupt terminated' TERM # cancelled, preempted or at the time limit; only Slurm knows which
