# Runs on the login node: cancel.sh mark|finish DIRECTORY... "mark" tells the jobs that they are about to be cancelled.
# "finish", after all jobs have stopped, removes secrets and writes the exit records of jobs that never started.
phase=$1
shift
now=$(date +%s)
for dir in "$@"; do
    [ -d "$dir/state" ] || continue
    if [ "$phase" = mark ]; then
        [ -s "$dir/state/exit.json" ] || : >"$dir/state/cancelled"
        continue
    fi
    mask_logs "$dir"
    rm -f "$dir/.secrets.env"
    [ -e "$dir/state/cancelled" ] && [ ! -s "$dir/state/exit.json" ] || continue
    job=$(cat "$dir/state/turn" "$dir/state/submitted" 2>/dev/null | head -n 1)
    printf '{"version": 1, "job": "%s", "status": 143, "reason": "cancelled", "began": %d, "ended": %d, "seconds": 0, "files": 0, "bytes": 0}\n' \
        "${job:-0}" "$now" "$now" >"$dir/state/.exit" && mv "$dir/state/.exit" "$dir/state/exit.json"
done
