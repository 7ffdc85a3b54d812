# ---- Gateway: the proxy between harness and endpoint, and its record of answers -------------------------------------

# Total size of the recorded answers in bytes.
record_size() {
    find "$record_dir" -name '*.segment' -printf '%s\n' 2>/dev/null | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

# Print the path of a Python that can run the gateway.
find_python() {
    local each
    for each in python3 /usr/bin/python3; do
        if "$each" -I -S -c 'import asyncio, ctypes, ssl, sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
            command -v "$each" && return
        fi
    done
    return 1
}

# The evaluation that an earlier attempt opened, unless its result was collected; otherwise a new one.
number=$(find "$NEL_RECORD" -mindepth 1 -maxdepth 1 -type d -name '[0-9]*' -printf '%f\n' 2>/dev/null | sort -n | tail -n 1)
if [ -z "$number" ] || [ -e "$NEL_RECORD/$number/closed" ]; then number=$((${number:-0} + 1)); fi
record_dir=$NEL_RECORD/$number
(umask 077 && mkdir -p "$record_dir" && echo "$NEL_KEEP_DAYS" >"$record_dir/keep_days") ||
    log "cannot write the record of requests to $record_dir"

gateway_base=http://nel-gateway.invalid
if [ "$NEL_RUNTIME" = pyxis ]; then
    python=python3 # of the image: the container is an option of srun, so that nothing can run around it
    cp "$NEL_GATEWAY" "$NEL_DIR/run/.gateway.pyz"
else
    python=$(environment_of_evaluation >/dev/null 2>&1 && find_python)
fi
if [ -n "$python" ]; then
    size=$(record_size)
    # NOTE: a job that received no new answer before its time limit would be followed by others that do not either.
    if [ "${1:-}" = continue ] && [ -n "${2:-}" ] && [ "$(cat "$state/record-$2" 2>/dev/null)" = "$size" ]; then
        passed=$(sed -n 's/.*"passed_through": \([0-9]*\).*/\1/p' "$NEL_DIR/logs/gateway.json" 2>/dev/null)
        case ${how:-}:${before:-}:${passed:-0} in time_limit:*:0 | *:TIMEOUT:0) finish 124 no_progress ;; esac
    fi
    record "record-$me" "$size"
    gateway_of_evaluation
else
    log "no Python 3.8 or newer on this node: the harness reaches the endpoint without the gateway, nothing is recorded"
fi
