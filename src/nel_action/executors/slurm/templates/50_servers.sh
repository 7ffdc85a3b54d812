# ---- What serves the model, and whatever else the evaluation needs ----------------------------------------------

# By server and instance (server-0): its port, its nodes, the address of the first of them, tries so far.
declare -A ports=() lists=() addresses=() tries=()
declare -A counts=() # by server: its instances
declare -A hole_of=() # by server: what stands for the port in words and files; empty where the command names it
declare -A front_of=() # by server: address and port where clients find it
chosen=' ' # ports that were given out
claimed=0  # nodes that were given out
serving=$(date +%s)

# Whether something listens: listens ADDRESS PORT
listens() {
    # shellcheck disable=SC2016 # the inner shell fills these in
    timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>/dev/null
}

# Whether a server answers with a status: healthy ADDRESS PORT PATH [STATUS]
healthy() {
    # shellcheck disable=SC2016 # the inner shell fills these in
    timeout 10 bash -c '
        exec 3<>"/dev/tcp/$0/$1" || exit 1
        printf "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n" "$2" "$0" >&3
        read -r _ status _ <&3 && [ "${status%%[!0-9]*}" = "$3" ]' "$1" "$2" "$3" "${4:-200}" 2>/dev/null
}

# Choose a port that nobody has, from FIRST on: choose_port ADDRESS FIRST; sets $port.
choose_port() {
    port=$(($2 > 60000 ? 20000 + $2 % 40000 : $2))
    while case $chosen in *" $1:$port "*) true ;; *) listens "$1" "$port" ;; esac; do
        port=$((port + 1 > 60000 ? 20000 : port + 1))
    done
    chosen="$chosen$1:$port "
}

# The harness runs on this shell's own node, so that one comes first.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
here=${SLURMD_NODENAME:-${nodes[0]}}
rest=()
for node in "${nodes[@]}"; do [ "$node" = "$here" ] || rest+=("$node"); done
nodes=("$here" "${rest[@]}")

# The address of a node: address_of NODE
address_of() {
    local found
    found=$(scontrol -o show node "$1" 2>/dev/null | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
    found=${found:-$1}
    set -- "$found" "$(getent ahostsv4 "$found" 2>/dev/null | head -n 1)"
    set -- "$1" "${2%% *}"
    printf '%s' "${2:-$1}"
}

# The addresses of several: addresses_of NODE,NODE
addresses_of() {
    local node found=
    for node in ${1//,/ }; do found=$found,$(address_of "$node"); done
    printf '%s' "${found#,}"
}

server_failed() {
    stop_steps
    mask_logs # what is shown here stays
    say "$1; the end of its log:"
    tail -n 15 "$NEL_DIR"/logs/srun-{server,aux_}*.log "$NEL_DIR"/logs/{server,aux_}*.log 2>/dev/null
    blame_node "${!ports[@]}"
    finish 69 "$2"
}

# Give a server its nodes and ports: serve NAME NODES INSTANCES PORT [HOLE]
serve() {
    local name=$1 each=$(($2 / $3)) i at own
    counts[$name]=$3
    hole_of[$name]=${5:-}
    for ((i = 0; i < $3; i++)); do
        at=$name-$i
        own=("${nodes[@]:claimed:each}")
        claimed=$((claimed + each))
        lists[$at]=$(IFS=,; printf '%s' "${own[*]}")
        addresses[$at]=127.0.0.1
        [ "${own[0]}" = "$here" ] || addresses[$at]=$(address_of "${own[0]}")
        tries[$at]=0
        assign_port "$name" "$at" "$4"
    done
}

# Choose the port of one instance: assign_port NAME INSTANCE PORT
assign_port() {
    local name=$1 at=$2 first=$3
    if [ -z "${hole_of[$name]}" ]; then
        ! listens "${addresses[$at]}" "$first" || server_failed "port $first is taken, and the command of $name names it" \
            server_unhealthy
        ports[$at]=$first
        return
    fi
    # NOTE: a node that is shared has servers of other jobs on it, which look for a port at the same moment; so each
    # job begins elsewhere.
    choose_port "${addresses[$at]}" "$(((first > 0 ? first : 20000) + me % 997 * 16))"
    ports[$at]=$port
    holes[port_$name]="s/${hole_of[$name]}/${ports[$name-0]}/g"
}

# Start all instances of servers: launch NAME...
launch() {
    local name i
    for name; do
        for ((i = 0; i < counts[$name]; i++)); do launch_one "$name" "$i"; done
    done
}

# Start one instance: launch_one NAME INDEX
launch_one() {
    local at=$1-$2
    local port=${ports[$at]} nodelist=${lists[$at]}
    rm -f "$NEL_DIR/run/.launched-$at"
    (
        "secrets_of_$1"
        "environment_of_$1" "$2"
        cd "$NEL_DIR/run/work" || exit 73
        "words_of_$1" "$2"
        exec "${STEP[@]}"
    ) 2>>"$NEL_DIR/logs/srun-$at.log" &
    servers[$at]=$!
}

# See that an instance lives, or start it again where it was never started, or where somebody else took its port first:
# living NAME INDEX
living() {
    local at=$1-$2
    ! kill -0 "${servers[$at]}" 2>/dev/null || return 0
    while unreached "$at" && patience "$at"; do
        launch_one "$1" "$2"
        nap 1
        ! kill -0 "${servers[$at]}" 2>/dev/null || return 0
    done
    [ -n "${hole_of[$1]}" ] && [ "${tries[$at]}" -lt 3 ] && listens "${addresses[$at]}" "${ports[$at]}" || return 1
    say "port ${ports[$at]} of $at went to somebody else; trying another"
    tries[$at]=$((tries[$at] + 1))
    assign_port "$1" "$at" "$((ports[$at] + 1))"
    place_files
    launch_one "$1" "$2"
}

# Wait until all instances of a server answer: await NAME HEALTH_PATH
await() {
    local name=$1 i at
    say "waiting for $name to become healthy"
    for ((i = 0; i < counts[$name]; i++)); do
        at=$name-$i
        until healthy "${addresses[$at]}" "${ports[$at]}" "$2" && kill -0 "${servers[$at]}" 2>/dev/null; do
            living "$name" "$i" || server_failed "$at ended before it was healthy" server_ended
            [ $(($(date +%s) - serving)) -lt "$NEL_READY_SECONDS" ] ||
                server_failed "$at is not healthy after $NEL_READY_SECONDS s" server_unhealthy
            nap 1
        done
        say "$at answers on ${addresses[$at]}:${ports[$at]}"
    done
    front_of[$name]=${addresses[$name-0]}:${ports[$name-0]}
}
