# ---- Starting programs ----------------------------------------------------------------------------------------------

# NOTE: a node that was given up for lost may still run behind a broken network. Its job checks regularly whether it is
# current and stops if it is not; until then nothing is started here.
if [ -n "$careful" ]; then
    log "waiting $NEL_FENCE s for the previous job to stop"
    pause "$NEL_FENCE"
fi

# Values of variables, as functions that only steps call: squeue and sbatch inherit this shell's environment.
[ -r "$NEL_DIR/.secrets.env" ] || finish 78 infrastructure
# shellcheck source=/dev/null
. "$NEL_DIR/.secrets.env"

# Copy the commands' files into their working directory, with placeholders replaced.
place_files() {
    local file target options=()
    for file in "${substitutions[@]}"; do options+=(-e "$file"); done
    while IFS= read -r -d '' file; do
        target=$NEL_DIR/run/work/${file#"$NEL_DIR"/files/}
        mkdir -p "${target%/*}"
        rm -f "$target.template" # of a gateway that filled in its own address
        sed -e '' "${options[@]}" "$file" >"$target"
    done < <(find "$NEL_DIR/files" -type f -print0 2>/dev/null)
}

# Whether a step was never started because the controller or the node did not answer: unreached NAME
unreached() {
    [ ! -e "$NEL_DIR/run/.launched-$1" ] && grep -qiE \
        'confirm allocation|contact slurm controller|connect(ion)? failure|timed out|try again|connection refused' \
        "$NEL_DIR/logs/srun-$1.log" && ! job_over "$1"
}

# Whether the job had already finished when a step was to be started: job_over NAME
job_over() {
    grep -qiE 'already completing|job [0-9]+ has expired|invalid job|job .*revoked' "$NEL_DIR/logs/srun-$1.log"
}

# Stop with the right reason if steps failed because the node was lost or the job was over, and not because of a
# program: check_node NAME...
check_node() {
    local name
    for name in "$@"; do
        [ -z "$(cat "$NEL_DIR/run/.launched-$name" 2>/dev/null)" ] || continue # the program recorded its own status
        ! grep -qi 'node fail' "$NEL_DIR/logs/srun-$name.log" || interrupt node_lost
        ! job_over "$name" || interrupt terminated
        ! unreached "$name" || interrupt node_lost
    done
}

# Whether Slurm (not the program) reported that a step ran out of memory: out_of_memory NAME
out_of_memory() { grep -qiE 'out of memory|oom.kill' "$NEL_DIR/logs/srun-$1.log"; }

# Wait before starting a step again; fails after 15 minutes: wait_for_retry NAME
waited=0 retry_pause=2
wait_for_retry() {
    [ "$waited" -lt 900 ] || return 1
    is_current || return 1
    log "$1 could not be started, trying again: $(tail -n 1 "$NEL_DIR/logs/srun-$1.log")"
    pause "$retry_pause"
    waited=$((waited + retry_pause)) retry_pause=$((retry_pause < 60 ? retry_pause * 2 : 60))
}

declare -A substitutions=() # expressions for sed, which replace placeholders by ports and addresses
