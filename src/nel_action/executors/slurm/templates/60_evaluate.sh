# ---- Evaluation -----------------------------------------------------------------------------------------------------

here=${here:-${SLURMD_NODENAME:-}}

# The progress before this line is that of an earlier start; see PROGRESS_MARK.
[ "$runs" -eq 0 ] || printf '\nnel-action: start %d of this attempt\n' "$((runs + 1))" >>"$NEL_DIR/logs/client.log"

while :; do
    [ "${#gateway[@]}" -gt 0 ] || ! declare -F direct_base >/dev/null || direct_base
    place_files
    rm -f "$NEL_DIR/run/.launched-client"
    (
        secrets_of_evaluation
        environment_of_evaluation
        cd "$NEL_DIR/run/work" || exit 73
        command_of_evaluation
        exec "${STEP[@]}"
    ) 2>"$NEL_DIR/logs/srun-client.log" &
    evaluation=$!
    while kill -0 "$evaluation" 2>/dev/null; do
        over=$((began + left - $(date +%s))) interval=$((NEL_FENCE / 3))
        sleep "$((over < interval ? (over > 1 ? over : 1) : interval))" &
        timer=$!
        wait -n "$evaluation" "$timer" "${servers[@]}"
        kill "$timer" 2>/dev/null
        kill -0 "$evaluation" 2>/dev/null || break
        for name in "${!servers[@]}"; do
            kill -0 "${servers[$name]}" 2>/dev/null || server_failed "$name exited during the evaluation" server_ended
        done
        [ "${#keepers[@]}" -eq 0 ] || verify_ports
        is_current || finish 75 infrastructure
        [ $((began + left)) -gt "$(date +%s)" ] || finish 124 time_limit
    done
    wait "$evaluation"
    status=$?
    evaluation=
    { unreached client && wait_for_retry client; } || break
done

if [ "${#gateway[@]}" -gt 0 ]; then
    case $status in # of the gateway, which stopped the harness
    121) finish "$status" budget ;;
    122) finish "$status" client_error ;;
    esac
fi
[ -e "$NEL_DIR/run/.launched-client" ] || {
    log "the harness could not be started: $(tail -n 1 "$NEL_DIR/logs/srun-client.log")"
    check_node client
    [ "$NEL_RUNTIME" != none ] || finish "$((status ? status : 70))" no_environment
    finish "$((status ? status : 70))" not_started
}
recorded=$(cat "$NEL_DIR/run/.launched-client")
if [ "$recorded" = 0 ]; then
    [ "${#keepers[@]}" -eq 0 ] || verify_ports
    finish 0 ""
fi
check_node client
! out_of_memory client || finish 137 out_of_memory
finish "${recorded:-$((status ? status : 70))}" harness
