# ---- Exactly once ---------------------------------------------------------------------------------------------------

mkdir -p "$state" "$NEL_DIR/logs" "$NEL_DIR/run/work" "$NEL_DIR/run/artifacts" || exit 73

# The first job that creates this file owns the attempt; a duplicate job finds it and exits.
(set -o noclobber && echo "$me" >"$state/owner") 2>/dev/null
for ((try = 0; try < 50; try++)); do
    owner=$(cat "$state/owner" 2>/dev/null)
    [ -z "$owner" ] || break
    sleep 0.1
done
if [ "$owner" != "$me" ] && [ "${1:-}" != "continue" ]; then
    log "duplicate of job $owner, which owns this attempt; nothing to do"
    exit 0
fi

# Only one job continues another, even if the continuation was submitted twice.
if [ "${1:-}" = "continue" ]; then
    (set -o noclobber && echo "$me" >"$state/after-$2") 2>/dev/null
    after=$(cat "$state/after-$2" 2>/dev/null)
    if [ -n "$after" ] && [ "$after" != "$me" ]; then
        log "duplicate of job $after, which continues job $2; nothing to do"
        exit 0
    fi
fi

# A finished attempt is never repeated, for example after a requeue.
if [ -s "$state/exit.json" ]; then
    log "already finished: $(cat "$state/exit.json")"
    exit "$(sed -n 's/.*"status": \([0-9]*\).*/\1/p' "$state/exit.json")"
fi

first=$began spent=0 runs=0
open=
while read -r what _ when _; do
    case $what in
    start)
        runs=$((runs + 1))
        [ "$runs" -gt 1 ] || first=$when
        # A job that recorded no stop counts with the longest time that it can have run.
        [ -z "$open" ] || spent=$((spent + (when - open < NEL_WALLTIME ? when - open : NEL_WALLTIME)))
        open=$when
        ;;
    stop) [ -z "$open" ] || spent=$((spent + when - open)) open= ;;
    esac
done < <(cat "$state/links" 2>/dev/null)
[ -z "$open" ] || spent=$((spent + (began - open < NEL_WALLTIME ? began - open : NEL_WALLTIME)))

record turn "$me" || exit 74
reserve
echo "start $me $began" >>"$state/links" || exit 74
log "$NEL_NAME: job $me on ${SLURM_JOB_NODELIST:-$(hostname)}, start $((runs + 1)), after $spent s in earlier jobs"

[ ! -e "$state/cancelled" ] || finish 143 cancelled

# The cause of the previous job's end decides whether there is anything to continue.
careful=
if [ "${1:-}" = "continue" ] && [ -n "${2:-}" ]; then
    before=$(squeue -h -t all -j "$2" -o %T 2>/dev/null | head -n 1)
    [ -n "$before" ] || before=$(sacct -X -n -P -j "$2" -o State 2>/dev/null | tail -n 1)
    before=${before%% *}
    how=$(awk -v job="$2" '$1 == "stop" && $2 == job { how = $4 } END { print how }' "$state/links")
    log "continuing job $2 (state: ${before:-unknown}${how:+, stopped for: $how})"
    case $before in
    CANCELLED) finish 143 cancelled ;;
    OUT_OF_MEMORY) finish 137 out_of_memory ;;
    FAILED) case $how in time_limit | node_lost) ;; *) finish 70 infrastructure ;; esac ;;
    TIMEOUT | PREEMPTED) ;;
    *) careful=yes ;; # its node may be lost
    esac
fi

left=$((NEL_BUDGET > 0 ? NEL_BUDGET - spent : 2147483647))
[ "$left" -gt 0 ] || finish 124 time_limit
