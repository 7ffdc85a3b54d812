# ---- Continuation after the time limit, preemption or the loss of the node ------------------------------------------

# NOTE: submitted before any secret is read, since sbatch copies its environment.
if [ "$runs" -lt "$NEL_RESUMES" ]; then
    for ((try = 0; try < 5; try++)); do # the controller may be down for a moment
        next=$(
            # shellcheck disable=SC2086 # names of variables
            unset ${!SLURM_MEM@} ${!SLURM_TRES@} ${!SLURM_CPUS@} ${!SLURM_NTASKS@} ${!SLURM_GPUS@} ${!SBATCH_@}
            sbatch --parsable --dependency="afternotok:$me" --kill-on-invalid-dep=yes "$NEL_SCRIPT" continue "$me" 2>&1
        )
        next=${next%%;*}
        case $next in
        *[Cc]ontact* | *[Cc]onnect* | *"timed out"* | *[Tt]emporar*) pause "$((2 << try))" ;;
        *) break ;;
        esac
    done
    case $next in
    '' | *[!0-9]*)
        log "cannot submit a continuation of this job, which will be queued again instead: $next"
        next=
        ;;
    *) log "job $next continues this one if necessary" ;;
    esac
fi
