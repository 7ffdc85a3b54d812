# ---- Exactly once -----------------------------------------------------------------------------------------------

mkdir -p "$state" "$NEL_DIR/logs" "$NEL_DIR/run/work" "$NEL_DIR/run/artifacts" || exit 73

# The attempt belongs to the first job that makes this file; one that was submitted twice finds it and leaves.
(set -o noclobber && echo "$me" >"$state/owner") 2>/dev/null
for ((try = 0; try < 50; try++)); do
    owner=$(cat "$state/owner" 2>/dev/null)
    [ -z "$owner" ] || break
    sleep 0.1
done
if [ "$owner" != "$me" ] && [ "${1:-}" != "continue" ]; then
    say "job $owner has this attempt; this job was submitted twice and does nothing"
    exit 0
fi

# Only one job continues another, even if it was submitted twice.
if [ "${1:-}" = "continue" ]; then
    (set -o noclobber && echo "$me" >"$state/after-$2") 2>/dev/null
    after=$(cat "$state/after-$2" 2>/dev/null)
    if [ -n "$after" ] && [ "$after" != "$me" ]; then
        say "job $after continues job $2; this job was submitted twice and does nothing"
        exit 0
    fi
fi

# However it came to run again, what has ended is not done twice.
if [ -s "$state/exit.json" ]; then
    say "this has ended already: $(cat "$state/exit.json")"
    exit "$(sed -n 's/.*"status": \([0-9]*\).*/\1/p' "$state/exit.json")"
fi

first=$began spent=0 runs=0
open=
while read -r what _ when _; do
    case $what in
    start)
        runs=$((runs + 1))
        [ "$runs" -gt 1 ] || first=$when
        # An end that was never written is put at the latest possible moment.
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
say "$NEL_NAME: job $me on ${SLURM_JOB_NODELIST:-$(hostname)}, start $((runs + 1)), $spent s spent before"

[ ! -e "$state/cancelled" ] || finish 143 cancelled

# Why the job before this one ended decides whether there is anything to continue.
careful=
if [ "${1:-}" = "continue" ] && [ -n "${2:-}" ]; then
    before=$(squeue -h -t all -j "$2" -o %T 2>/dev/null | head -n 1)
    [ -n "$before" ] || before=$(sacct -X -n -P -j "$2" -o State 2>/dev/null | tail -n 1)
    before=${before%% *}
    how=$(awk -v job="$2" '$1 == "stop" && $2 == job { how = $4 } END { print how }' "$state/links")
    say "continuing job $2, which Slurm calls ${before:-forgotten}${how:+ and which stopped for $how}"
    case $before in
    CANCELLED) finish 143 cancelled ;;
    OUT_OF_MEMORY) finish 137 out_of_memory ;;
    FAILED) case $how in time_limit | node_lost) ;; *) finish 70 infrastructure ;; esac ;;
    TIMEOUT | PREEMPTED) ;;
    *) careful=yes ;; # its node was lost, perhaps
    esac
fi

left=$((NEL_BUDGET > 0 ? NEL_BUDGET - spent : 2147483647))
[ "$left" -gt 0 ] || finish 124 time_limit
