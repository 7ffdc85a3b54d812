# ---- The model's server, on the allocation's first nodes --------------------------------------------------------

# Whether something listens: listens ADDRESS PORT
# shellcheck disable=SC2016 # the inner shell fills these in
listens() { timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>/dev/null; }

# Whether a server answers with a status: healthy ADDRESS PORT PATH STATUS
healthy() {
    # shellcheck disable=SC2016 # the inner shell fills these in
    timeout 10 bash -c '
        exec 3<>"/dev/tcp/$0/$1" || exit 1
        printf "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n" "$2" "$0" >&3
        read -r _ status _ <&3 && [ "$status" = "$3" ]' "$1" "$2" "$3" "${4:-200}" 2>/dev/null
}

# Choose a port that nobody has: choose_port ADDRESS FIRST; sets $port. Ports that were chosen before are left out.
chosen=
choose_port() {
    port=$2
    while case " $chosen " in *" $port "*) true ;; *) listens "$1" "$port" ;; esac; do
        port=$((port + 1 > 60000 ? 20000 : port + 1))
    done
    chosen="$chosen $port"
}

# The harness runs on this shell's own node, so that one comes first.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
here=${SLURMD_NODENAME:-${nodes[0]}}
rest=()
for node in "${nodes[@]}"; do [ "$node" = "$here" ] || rest+=("$node"); done
nodes=("$here" "${rest[@]}")

address_of() {
    local found
    found=$(scontrol -o show node "$1" 2>/dev/null | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
    printf '%s' "${found:-$1}"
}

# Start one instance: launch_server INDEX
launch_server() {
    local port=${ports[$1]} nodelist=${lists[$1]}
    rm -f "$NEL_DIR/run/.launched-server-$1"
    (
        secrets_of_server
        environment_of_server
        cd "$NEL_DIR/run/work" || exit 73
        server_words "$1"
        exec "${STEP[@]}"
    ) 2>"$NEL_DIR/logs/srun-server-$1.log" &
    servers[$1]=$!
}

# See that a server lives, or start it again where it was never started: living INDEX
living() {
    kill -0 "${servers[$1]}" 2>/dev/null && return 0
    while unreached "server-$1" && patience "server-$1"; do
        launch_server "$1"
        nap 1
        kill -0 "${servers[$1]}" 2>/dev/null && return 0
    done
    return 1
}

server_failed() {
    say "$1; the end of its log:"
    tail -n 15 "$NEL_DIR"/logs/srun-server-*.log "$NEL_DIR"/logs/server-*.log 2>/dev/null
    for ((i = 0; i < NEL_INSTANCES; i++)); do blame_node "server-$i"; done
    finish 69 "$2"
}

ports=() lists=() addresses=()
for ((i = 0; i < NEL_INSTANCES; i++)); do
    own=("${nodes[@]:i*NEL_NODES_EACH:NEL_NODES_EACH}")
    lists[i]=$(IFS=,; printf '%s' "${own[*]}")
    addresses[i]=127.0.0.1
    [ "${own[0]}" = "$here" ] || addresses[i]=$(address_of "${own[0]}")
    # NOTE: a node that is shared has other people's servers on the usual ports
    choose_port "${addresses[i]}" "$((NEL_PORT_FIRST > 0 ? NEL_PORT_FIRST : 20000 + me % 20000))"
    ports[i]=$port
done
front=${ports[0]}
holes=(-e "s/$NEL_PORT_HOLE/${ports[0]}/g")
[ "$NEL_INSTANCES" -gt 1 ] || holes+=(-e "s/$NEL_FRONT_HOLE/$front/g")
place_files
for ((i = 0; i < NEL_INSTANCES; i++)); do launch_server "$i"; done

say "waiting for $NEL_INSTANCES server(s) to become healthy"
for ((i = 0; i < NEL_INSTANCES; i++)); do
    until healthy "${addresses[i]}" "${ports[i]}" "$NEL_HEALTH_PATH"; do
        living "$i" || server_failed "server $i ended before it was healthy" server_ended
        [ $(($(date +%s) - began)) -lt "$NEL_READY_SECONDS" ] ||
            server_failed "server $i is not healthy after $NEL_READY_SECONDS s" server_unhealthy
        nap 1
    done
    say "server $i answers on ${addresses[i]}:${ports[i]}"
done
