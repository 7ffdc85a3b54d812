# ---- One address before all instances ---------------------------------------------------------------------------

choose_port 127.0.0.1 "$NEL_FRONT_FIRST"
front=$port
holes+=(-e "s/$NEL_FRONT_HOLE/$front/g")
{
    printf 'global\n    maxconn 8192\ndefaults\n    mode http\n    timeout connect 10s\n'
    printf '    timeout client 24h\n    timeout server 24h\n    retries 3\n    option redispatch\n'
    printf 'frontend front\n    bind 127.0.0.1:%s\n    default_backend instances\n' "$front"
    printf 'backend instances\n    balance leastconn\n'
    printf '    option httpchk GET %s\n    http-check expect status %s\n' "$NEL_FRONT_CHECK_PATH" "$NEL_FRONT_CHECK_STATUS"
    for ((i = 0; i < NEL_INSTANCES; i++)); do
        printf '    server instance%s %s:%s check inter 5s\n' "$i" "${addresses[i]}" "${ports[i]}"
    done
} >"$NEL_DIR/run/work/haproxy.cfg"

(
    balancer_words
    exec "${STEP[@]}"
) >"$NEL_DIR/logs/balancer.log" 2>&1 &
servers[NEL_INSTANCES]=$!
until healthy 127.0.0.1 "$front" "$NEL_FRONT_CHECK_PATH" "$NEL_FRONT_CHECK_STATUS"; do
    kill -0 "${servers[NEL_INSTANCES]}" 2>/dev/null || {
        tail -n 5 "$NEL_DIR/logs/balancer.log"
        server_failed "the balancer ended" server_ended
    }
    [ $(($(date +%s) - began)) -lt "$NEL_READY_SECONDS" ] || server_failed "the balancer is not healthy" server_unhealthy
    nap 1
done
say "the balancer answers on 127.0.0.1:$front"
