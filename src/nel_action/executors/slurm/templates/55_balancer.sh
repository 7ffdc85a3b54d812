# ---- Load balancer for several instances of a server ----------------------------------------------------------------

# Start a load balancer and wait until it is healthy: balance NAME FIRST_PORT HEALTH_PATH STATUS
balance() {
    local name=$1 at=balancer-$1 i port
    assign_port "$at" "$here" "$(($2 + me % 997 * 16))"
    port=${ports[$at]}
    {
        printf 'global\n    maxconn 8192\ndefaults\n    mode http\n    timeout connect 10s\n'
        printf '    timeout client 24h\n    timeout server 24h\n    retries 3\n    option redispatch\n'
        printf 'frontend front\n    bind 127.0.0.1:%s\n    default_backend instances\n' "$port"
        printf 'backend instances\n    balance leastconn\n'
        printf '    option httpchk GET %s\n    http-check expect status %s\n' "$3" "$4"
        for ((i = 0; i < counts[$name]; i++)); do
            printf '    server instance%s %s:%s check inter 5s\n' "$i" "${addresses[$name-$i]}" "${ports[$name-$i]}"
        done
    } >"$NEL_DIR/run/work/haproxy-$name.cfg"
    (
        environment_of_balancer
        command_of_balancer "$name"
        NEL_SERVER_ID=${ids[$at]} exec "${STEP[@]}"
    ) >"$NEL_DIR/logs/$at.log" 2>&1 &
    servers[$at]=$!
    until [ "$(owner_of "$at")" = own ] && healthy 127.0.0.1 "$port" "$3" "$4"; do
        [ "$(owner_of "$at")" != foreign ] ||
            server_failed "another program listens on port $port of the load balancer of $name" server_unhealthy
        kill -0 "${servers[$at]}" 2>/dev/null || {
            tail -n 5 "$NEL_DIR/logs/$at.log"
            server_failed "the load balancer of $name exited" server_ended
        }
        [ $(($(date +%s) - servers_began)) -lt "$NEL_READY_SECONDS" ] ||
            server_failed "the load balancer of $name is not healthy after $NEL_READY_SECONDS s" server_unhealthy
        pause 1
    done
    client_addresses[$name]=127.0.0.1:$port
    log "the load balancer of $name is healthy at ${client_addresses[$name]}"
}
