#!/usr/bin/env bash
# Joins this node to a Ray cluster; the head then runs the command in the arguments.
#   PROC_ID             0 is the head, others are workers
#   NODES_PER_INSTANCE  number of nodes of the cluster
#   MASTER_IP           address of the head
set -euo pipefail

port="${RAY_PORT:-6379}"
nodes="${NODES_PER_INSTANCE:-1}"
timeout="${RAY_JOIN_TIMEOUT:-1800}" # seconds
# NOTE: fixed ports, because a port that Ray selects may be the server's.
ports=(--node-manager-port=8266 --object-manager-port=8267 --metrics-export-port=8269
    --dashboard-agent-grpc-port=8270 --dashboard-agent-listen-port=8271 --runtime-env-agent-port=8272)

joined() {
    # NOTE: `ray status` prints one line per active node.
    ray status 2>/dev/null | grep -c ' node_' || true
}

if [ "${PROC_ID:-0}" -ne 0 ]; then
    until ray start --address="${MASTER_IP:?}:$port" "${ports[@]}" --block; do
        [ "$SECONDS" -lt "$timeout" ] || { echo "the head at $MASTER_IP:$port did not respond" >&2; exit 1; }
        sleep 5
    done
    exit 0
fi

if [ -n "${MASTER_IP:-}" ]; then
    export VLLM_HOST_IP="$MASTER_IP"
fi
ray start --head --port="$port" "${ports[@]}"
while [ "$(joined)" -lt "$nodes" ]; do
    [ "$SECONDS" -lt "$timeout" ] || { echo "only $(joined) of $nodes nodes joined" >&2; exit 1; }
    sleep 5
done
export RAY_ADDRESS="${MASTER_IP:-127.0.0.1}:$port"
exec "$@"
