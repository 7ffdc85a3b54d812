# ---- Starting programs ------------------------------------------------------------------------------------------

# NOTE: a node that is given up for lost may live on behind a broken network. What runs there looks now and then
# whether it still has the turn, and stops when it has not; until then nothing is started here.
if [ -n "$careful" ]; then
    say "waiting $NEL_FENCE s for what may still run elsewhere to stop"
    nap "$NEL_FENCE"
fi

# Values of variables, as functions that only the steps call: this shell, and so squeue and sbatch, never has them.
[ -r "$NEL_DIR/.secrets.env" ] || finish 78 infrastructure
# shellcheck source=/dev/null
. "$NEL_DIR/.secrets.env"

# Copy the commands' files to where they are read, with the ports of this job filled in.
place_files() {
    local file target found=()
    for file in "${holes[@]}"; do found+=(-e "$file"); done
    while IFS= read -r -d '' file; do
        target=$NEL_DIR/run/work/${file#"$NEL_DIR"/files/}
        mkdir -p "${target%/*}"
        sed -e '' "${found[@]}" "$file" >"$target"
    done < <(find "$NEL_DIR/files" -type f -print0 2>/dev/null)
}

# Whether a step was never started because the controller or the node did not answer for a moment: unreached NAME
unreached() {
    [ ! -e "$NEL_DIR/run/.launched-$1" ] && grep -qiE \
        'confirm allocation|contact slurm controller|connect(ion)? failure|timed out|try again|connection refused' \
        "$NEL_DIR/logs/srun-$1.log" && ! job_over "$1"
}

# Whether the job itself was over when a step was to be started; Slurm knows why: job_over NAME
job_over() {
    grep -qiE 'already completing|job [0-9]+ has expired|invalid job|job .*revoked' "$NEL_DIR/logs/srun-$1.log"
}

# A step that ended or never began because its node was lost, or the job was over, is no fault of any program. The job
# then stops as for a lost node: blame_node NAME...
blame_node() {
    local name
    for name in "$@"; do
        [ -z "$(cat "$NEL_DIR/run/.launched-$name" 2>/dev/null)" ] || continue # it has said itself how it ended
        ! grep -qi 'node fail' "$NEL_DIR/logs/srun-$name.log" || interrupt node_lost
        ! job_over "$name" || interrupt terminated
        ! unreached "$name" || interrupt node_lost
    done
}

# Whether memory ran out in a step, by what Slurm (not the program) said of it: out_of_memory NAME
out_of_memory() { grep -qiE 'out of memory|oom.kill' "$NEL_DIR/logs/srun-$1.log"; }

# Wait before another try: patience NAME; fails when there is none left.
waited=0 pause=2
patience() {
    [ "$waited" -lt 900 ] || return 1
    has_turn || return 1
    say "$1 could not be started, trying again: $(tail -n 1 "$NEL_DIR/logs/srun-$1.log")"
    nap "$pause"
    waited=$((waited + pause)) pause=$((pause < 60 ? pause * 2 : 60))
}

declare -A holes=() # for sed: what stands for a port or an address in files, and what it is
