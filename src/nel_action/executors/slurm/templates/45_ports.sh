# ---- Ports: locked on their node, and watched so that only this job's servers are used -------------------------------

# NOTE: these functions also run alone, on other nodes of the allocation; see start_keeper.

# Print the inodes of the sockets that listen on a port of this node: listeners PORT
listeners() {
    awk -v port=":$(printf '%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10 }' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null | sort | tr '\n' ' '
}

# Whether a process belongs to a server: by the job's control group, or because it or one of its ancestors has the
# server's variable or is the process that the step recorded: belongs PID ID RECORD JOB
belongs() {
    local pid=$1 recorded
    ! grep -qsE "/job_$4(/|\$)" "/proc/$pid/cgroup" || return 0
    recorded=$(cat "$3" 2>/dev/null)
    while [ "${pid:-0}" -gt 1 ]; do
        [ "$pid" != "$recorded" ] || return 0
        ! { tr '\0' '\n' <"/proc/$pid/environ" | grep -qxF "NEL_SERVER_ID=$2"; } 2>/dev/null || return 0
        pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null)
    done
    return 1
}

# Print who listens on a port of this node, "free", "own" or "foreign": port_owner PORT ID RECORD JOB
port_owner() {
    local inode pid owner=free
    # NOTE: all listeners have to belong to the server, since the kernel distributes connections among several.
    for inode in $(listeners "$1"); do
        for pid in $(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | cut -d / -f 3 | sort -u); do
            ! belongs "$pid" "$2" "$3" "$4" || { owner=own && continue 2; }
        done
        case " $(listeners "$1")" in *" $inode "*) owner=foreign && break ;; esac
    done
    echo "$owner"
}

# Lock a port of this node, print it, and print who listens on it at every change, until the parent process exits:
# keep_port FIRST MODE EXCLUDED ID RECORD JOB
# MODE is empty (the first free port from FIRST on), "fixed" (FIRST or none) or "watch" (FIRST, which is in use already).
keep_port() {
    local port=$1 lock='' directory=/tmp/nel-action-ports-$UID known=none owner='' last='' inodes
    mkdir -m 700 "$directory" 2>/dev/null
    # NOTE: without locks, two servers may choose one port; then at least one of them finds a foreign listener on it.
    [ -O "$directory" ] && [ ! -L "$directory" ] && command -v flock >/dev/null || directory=
    [ -n "$2" ] || port=$((port > 60000 ? 20000 + port % 40000 : port))
    while [ "$2" != watch ]; do
        [ -z "$lock" ] || exec {lock}>&-
        lock=
        if case ${2:-$3} in *" $port "*) false ;; esac && { [ -z "$directory" ] ||
            { exec {lock}>"$directory/$port" && flock -n "$lock"; }; }; then
            [ -n "$(listeners "$port")" ] || break
            [ -z "$2" ] || { echo taken && return; }
        elif [ -n "$2" ]; then
            [ "$last" = locked ] || echo locked
            last=locked
            sleep 1
        fi
        [ -n "$2" ] || port=$((port + 1 > 60000 ? 20000 : port + 1))
        [ -d "/proc/$PPID" ] || return
    done
    echo "port $port"
    while [ -d "/proc/$PPID" ]; do
        inodes=$(listeners "$port")
        if [ "$inodes" != "$known" ]; then
            owner=$(port_owner "$port" "$4" "$5" "$6")
            # NOTE: a process that is just starting may not be recognised yet.
            [ "$owner" != foreign ] || { sleep 1 && owner=$(port_owner "$port" "$4" "$5" "$6"); }
            [ "$owner" = "$last" ] || echo "$owner"
            last=$owner known=$([ "$owner" = foreign ] && echo none || echo "$inodes")
        fi
        if [ -n "$lock" ]; then sleep 1 {lock}>&-; else sleep 1; fi
    done
}

# By server and instance: value of the variable that identifies its processes, node of its port.
declare -A ids=() keeper_nodes=()
taken_ports=' '

# Print the last line of a keeper that matches a pattern: keeper_said INSTANCE PATTERN
keeper_said() { sed -n "/^\($2\)/p" "$state/port-$1" 2>/dev/null | tail -n 1; }

# Print who listens on the port of an instance: owner_of INSTANCE
owner_of() { keeper_said "$1" 'free\|own\|foreign'; }

# Start the process that keeps a port on a node: start_keeper INSTANCE NODE FIRST MODE
start_keeper() {
    local at=$1 functions
    functions=$(declare -f listeners belongs port_owner keep_port)
    set -- "$2" "$3" "$4" "$taken_ports" "${ids[$at]}" "$NEL_DIR/run/.launched-$at.pid" "$me"
    local command=(env -u BASH_ENV bash --norc --noprofile -c "$functions; "'keep_port "$@"' keep "${@:2}")
    [ "$1" = "$here" ] || command=(srun --overlap --cpu-bind=none --nodes=1 --ntasks=1 --nodelist="$1" "${command[@]}")
    : >"$state/port-$at"
    "${command[@]}" >>"$state/port-$at" 2>>"$NEL_DIR/logs/srun-port-$at.log" </dev/null &
    keepers[$at]=$!
}

# Stop keeping the port of an instance: release_port INSTANCE
release_port() {
    [ -z "${keepers[$1]:-}" ] || { kill "${keepers[$1]}" && wait "${keepers[$1]}"; } 2>/dev/null
    unset "keepers[$1]"
}

# Lock a port for an instance and set ports[INSTANCE]: assign_port INSTANCE NODE FIRST [MODE]
assign_port() {
    local at=$1 node=$2 first=$3 mode=${4:-} port waited_for=''
    release_port "$at"
    ids[$at]=$NEL_NAME-$me-$at-${tries[$at]:-0} keeper_nodes[$at]=$node
    start_keeper "$at" "$node" "$first" "$mode"
    while :; do
        port=$(keeper_said "$at" 'port ')
        [ -z "$port" ] || break
        [ -z "$(keeper_said "$at" taken)" ] ||
            server_failed "port $first is in use on $node, and the command of $at names it" server_unhealthy
        if [ -z "$waited_for" ] && [ -n "$(keeper_said "$at" locked)" ]; then
            log "waiting for port $first on $node, which another job of yours uses and the command of $at names"
            waited_for=yes
        fi
        if ! kill -0 "${keepers[$at]}" 2>/dev/null && [ -z "$(keeper_said "$at" 'port \|taken')" ]; then
            { unreached "port-$at" && wait_for_retry "port-$at"; } ||
                server_failed "cannot look for a free port on $node" infrastructure
            start_keeper "$at" "$node" "$first" "$mode"
        fi
        pause 0.2
    done
    [ -z "$waited_for" ] || servers_began=$(date +%s)
    ports[$at]=${port#port }
    taken_ports="$taken_ports${ports[$at]} "
}

# Fail if a program that does not belong to this job listens on the port of a server: verify_ports
verify_ports() {
    local at
    for at in "${!keepers[@]}"; do
        if ! kill -0 "${keepers[$at]}" 2>/dev/null; then
            log "watching port ${ports[$at]} of $at again"
            start_keeper "$at" "${keeper_nodes[$at]}" "${ports[$at]}" watch
        fi
        [ "$(owner_of "$at")" != foreign ] ||
            server_failed "another program listens on port ${ports[$at]} of $at and may have answered" server_unhealthy
    done
}
