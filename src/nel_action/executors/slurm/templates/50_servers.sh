# ---- Model servers --------------------------------------------------------------------------------------------------

# By server and instance (server-0): port, nodes, address of the first node, number of other ports tried.
declare -A ports=() nodelists=() addresses=() tries=()
declare -A counts=() # by server: number of instances
declare -A placeholders=() # by server: placeholder of the port; empty if the command names the port itself
declare -A client_addresses=() # by server: address and port for clients
taken_nodes=0
servers_began=$(date +%s)

# Whether a server answers with a status: healthy ADDRESS PORT PATH [STATUS]
healthy() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    timeout 10 bash -c '
        exec 3<>"/dev/tcp/$0/$1" || exit 1
        printf "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n" "$2" "$0" >&3
        read -r _ status _ <&3 && [ "${status%%[!0-9]*}" = "$3" ]' "$1" "$2" "$3" "${4:-200}" 2>/dev/null
}

# The harness runs on this shell's node, so that node is used first.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
here=${SLURMD_NODENAME:-${nodes[0]}}
rest=()
for node in "${nodes[@]}"; do [ "$node" = "$here" ] || rest+=("$node"); done
nodes=("$here" "${rest[@]}")

# Print the address of a node: address_of NODE
address_of() {
    local address
    address=$(scontrol -o show node "$1" 2>/dev/null | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
    address=${address:-$1}
    set -- "$address" "$(getent ahostsv4 "$address" 2>/dev/null | head -n 1)"
    set -- "$1" "${2%% *}"
    printf '%s' "${2:-$1}"
}

# Print the addresses of several nodes: addresses_of NODE,NODE
addresses_of() {
    local node list=
    for node in ${1//,/ }; do list=$list,$(address_of "$node"); done
    printf '%s' "${list#,}"
}

# Finish because of a server: server_failed MESSAGE REASON
server_failed() {
    stop_steps
    mask_logs # before their ends are copied into this log
    log "$1; end of its log:"
    tail -n 15 "$NEL_DIR"/logs/srun-{server,aux_}*.log "$NEL_DIR"/logs/{server,aux_}*.log 2>/dev/null
    check_node "${!nodelists[@]}"
    finish 69 "$2"
}

# Assign nodes and ports to a server: serve NAME NODES INSTANCES PORT [PLACEHOLDER]
serve() {
    local name=$1 each=$(($2 / $3)) i at own first=$4
    # NOTE: each job starts its search at another number; servers of other users may choose at the same moment.
    [ -z "${5:-}" ] || first=$(((first > 0 ? first : 20000) + me % 997 * 16))
    counts[$name]=$3
    placeholders[$name]=${5:-}
    for ((i = 0; i < $3; i++)); do
        at=$name-$i
        own=("${nodes[@]:taken_nodes:each}")
        taken_nodes=$((taken_nodes + each))
        nodelists[$at]=$(IFS=,; printf '%s' "${own[*]}")
        addresses[$at]=127.0.0.1
        [ "${own[0]}" = "$here" ] || addresses[$at]=$(address_of "${own[0]}")
        tries[$at]=0
        choose_port "$name" "$at" "$first"
    done
}

# Choose the port of one instance, from PORT on unless the command names it: choose_port NAME INSTANCE PORT
choose_port() {
    local name=$1 at=$2 mode=fixed
    [ -z "${placeholders[$name]}" ] || mode=
    assign_port "$at" "${nodelists[$at]%%,*}" "$3" "$mode"
    [ -n "$mode" ] || substitutions[port_$name]="s/${placeholders[$name]}/${ports[$name-0]}/g"
}

# Start all instances of servers: launch NAME...
launch() {
    local name i
    for name; do
        for ((i = 0; i < counts[$name]; i++)); do launch_instance "$name" "$i"; done
    done
}

# Start one instance: launch_instance NAME INDEX
launch_instance() {
    local at=$1-$2
    local port=${ports[$at]} nodelist=${nodelists[$at]}
    rm -f "$NEL_DIR/run/.launched-$at" "$NEL_DIR/run/.launched-$at.pid"
    (
        "secrets_of_$1"
        "environment_of_$1" "$2"
        cd "$NEL_DIR/run/work" || exit 73
        "command_of_$1" "$2"
        NEL_SERVER_ID=${ids[$at]} exec "${STEP[@]}"
    ) 2>>"$NEL_DIR/logs/srun-$at.log" &
    servers[$at]=$!
}

# Fail if an instance has exited, unless it can be started again because it was never started or another program took
# its port: ensure_running NAME INDEX
ensure_running() {
    local at=$1-$2
    if [ "$(owner_of "$at")" = foreign ]; then
        [ -n "${placeholders[$1]}" ] && [ "${tries[$at]}" -lt 3 ] ||
            server_failed "another program listens on port ${ports[$at]} of $at" server_unhealthy
        log "port ${ports[$at]} of $at was taken by another program; trying another port"
        kill "${servers[$at]}" 2>/dev/null && wait "${servers[$at]}"
        tries[$at]=$((tries[$at] + 1))
        choose_port "$1" "$at" "$((ports[$at] + 1))"
        place_files
        launch_instance "$1" "$2"
        return
    fi
    ! kill -0 "${servers[$at]}" 2>/dev/null || return 0
    while unreached "$at" && wait_for_retry "$at"; do
        launch_instance "$1" "$2"
        pause 1
        ! kill -0 "${servers[$at]}" 2>/dev/null || return 0
    done
    # NOTE: it may have exited because of a program whose listener has not been noticed yet.
    pause 2
    [ "$(owner_of "$at")" = foreign ] || return 1
}

# Wait until all instances of a server are healthy: await NAME HEALTH_PATH
await() {
    local name=$1 i at
    log "waiting for $name to become healthy"
    for ((i = 0; i < counts[$name]; i++)); do
        at=$name-$i
        # NOTE: an answer proves nothing: it may be that of another job's server on the same port.
        until [ "$(owner_of "$at")" = own ] && healthy "${addresses[$at]}" "${ports[$at]}" "$2" &&
            kill -0 "${servers[$at]}" 2>/dev/null; do
            ensure_running "$name" "$i" || server_failed "$at exited before it was healthy" server_ended
            [ $(($(date +%s) - servers_began)) -lt "$NEL_READY_SECONDS" ] ||
                server_failed "$at is not healthy after $NEL_READY_SECONDS s (port ${ports[$at]}: $(owner_of "$at"))" \
                    server_unhealthy
            pause 1
        done
        log "$at is healthy at ${addresses[$at]}:${ports[$at]}"
    done
    client_addresses[$name]=${addresses[$name-0]}:${ports[$name-0]}
}
