# ---- Who goes on when this job meets its time limit, is preempted or loses its node -----------------------------

# NOTE: submitted before any secret is read, since sbatch keeps the environment that it finds.
if [ "$runs" -lt "$NEL_RESUMES" ]; then
    for ((try = 0; try < 5; try++)); do # the controller may be out of reach for a moment
        next=$(
            # shellcheck disable=SC2086 # names of variables
            unset ${!SLURM_MEM@} ${!SLURM_TRES@} ${!SLURM_CPUS@} ${!SLURM_NTASKS@} ${!SLURM_GPUS@} ${!SBATCH_@}
            sbatch --parsable --dependency="afternotok:$me" --kill-on-invalid-dep=yes "$NEL_SCRIPT" continue "$me" 2>&1
        )
        next=${next%%;*}
        case $next in
        *[Cc]ontact* | *[Cc]onnect* | *"timed out"* | *[Tt]emporar*) nap "$((2 << try))" ;;
        *) break ;;
        esac
    done
    case $next in
    '' | *[!0-9]*)
        say "nobody will continue this job: $next"
        next=
        ;;
    *) say "job $next continues this one where that is needed" ;;
    esac
fi
