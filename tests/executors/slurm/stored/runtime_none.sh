environment_of_server() {
    export PYTHONUNBUFFERED=1
    MASTER_IP=$(address_of "${nodelist%%,*}")
    ALL_NODE_IPS=$(addresses_of "$nodelist")
    NODES_PER_INSTANCE=1
    export MASTER_IP ALL_NODE_IPS NODES_PER_INSTANCE
}

command_of_server() {
    STEP=(
        srun
        --overlap
        --kill-on-bad-exit=1
        --cpu-bind=none
        --open-mode=append
        --nodes=1
        --ntasks=1
        --nodelist="$nodelist"
        --mpi=pmix
        --output=/scratch/runs/nel-0123456789abcdef-1/logs/server-"$1".log
        sh
        -c
        'echo > "$0"; PROC_ID=${SLURM_PROCID:-0}; export PROC_ID; [ "$PROC_ID" != 0 ] || echo $$ > "$0.pid"; exec "$@"'
        /scratch/runs/nel-0123456789abcdef-1/run/.launched-server-"$1"
        vllm
        serve
        /models/acme
        --served-model-name
        acme-7b
        --host
        0.0.0.0
        --port
        "$port"
        --tensor-parallel-size
        1
        --pipeline-parallel-size
        1
        --data-parallel-size
        1
    )
}

environment_of_balancer() {
    export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
}

command_of_balancer() {
    STEP=(
        srun
        --overlap
        --kill-on-bad-exit=1
        --cpu-bind=none
        --open-mode=append
        --nodes=1
        --ntasks=1
        --nodelist="$here"
        haproxy
        -db
        -f
        /scratch/runs/nel-0123456789abcdef-1/run/work/haproxy-"$1".cfg
    )
}

environment_of_evaluation() {
    export NEMO_EVALUATOR_DATASET_DIR=/datasets
    export PYTHONUNBUFFERED=1
    export NEL_TASK=quick
    export NEL_URL=http://"$server_address"/v1/chat/completions
    export NEL_MODEL_ID=acme-7b
    export NEL_ENDPOINT_TYPE=chat
    export NEL_OUTPUT_DIR=/scratch/runs/nel-0123456789abcdef-1/run/artifacts
    export NEL_TASK_DIR=/scratch/runs/nel-0123456789abcdef-1/run/task
    export NEL_PARALLELISM=4
    export NEL_REQUEST_TIMEOUT=600.0
    export NEL_MAX_RETRIES=5
    export NEL_SEED=1234
    export NVIDIA_VISIBLE_DEVICES='0,1'
}

command_of_evaluation() {
    STEP=(
        srun
        --overlap
        --kill-on-bad-exit=1
        --cpu-bind=none
        --open-mode=append
        --nodes=1
        --ntasks=1
        --nodelist="$here"
        --output=/scratch/runs/nel-0123456789abcdef-1/logs/client.log
        sh
        -c
        'echo > "$0"; "$@" & child=$!; trap "kill -TERM $child" TERM; wait "$child"; code=$?; while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done; echo "$code" > "$0"; exit "$code"'
        /scratch/runs/nel-0123456789abcdef-1/run/.launched-client
        bash
        /scratch/runs/nel-0123456789abcdef-1/run/task/run.sh
    )
}
