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
        '--container-image=registry.example#server:1.0'
        '--container-mounts=/scratch/runs/nel-0123456789abcdef-1/run:/nel,/shared/a:/a,/models/acme:/checkpoint:ro,/cache/hf:/cache'
        --container-workdir=/nel/work
        --no-container-mount-home
        '--container-env=ALL_NODE_IPS,MASTER_IP,NEL_SERVER_ID,NODES_PER_INSTANCE,PROC_ID,PYTHONUNBUFFERED,SLURM_PROCID'
        sh
        -c
        'echo > "$0"; PROC_ID=${SLURM_PROCID:-0}; export PROC_ID; [ "$PROC_ID" != 0 ] || echo $$ > "$0.pid"; exec "$@"'
        /nel/.launched-server-"$1"
        vllm
        serve
        /checkpoint
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
        --container-image=haproxy:latest
        --container-mounts=/scratch/runs/nel-0123456789abcdef-1/run:/nel
        --container-workdir=/nel/work
        --no-container-mount-home
        --container-env=NEL_SERVER_ID
        haproxy
        -db
        -f
        /nel/work/haproxy-"$1".cfg
    )
}

environment_of_evaluation() {
    export NEMO_EVALUATOR_DATASET_DIR=/datasets
    export PYTHONUNBUFFERED=1
    export NEL_TASK=quick
    export NEL_URL=http://"$server_address"/v1/chat/completions
    export NEL_MODEL_ID=acme-7b
    export NEL_ENDPOINT_TYPE=chat
    export NEL_OUTPUT_DIR=/nel/artifacts
    export NEL_TASK_DIR=/nel/task
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
        '--container-image=registry.example:5000#acme/harness:2'
        '--container-mounts=/scratch/runs/nel-0123456789abcdef-1/run:/nel,/shared/b:/b:ro,/data/items:/datasets'
        --container-workdir=/nel/work
        --no-container-mount-home
        '--container-env=MODEL_API_KEY,NEL_ENDPOINT_TYPE,NEL_MAX_RETRIES,NEL_MODEL_ID,NEL_OUTPUT_DIR,NEL_PARALLELISM,NEL_REQUEST_TIMEOUT,NEL_SEED,NEL_TASK,NEL_TASK_DIR,NEL_URL,NEMO_EVALUATOR_DATASET_DIR,NVIDIA_VISIBLE_DEVICES,PYTHONUNBUFFERED'
        sh
        -c
        'echo > "$0"; "$@" & child=$!; trap "kill -TERM $child" TERM; wait "$child"; code=$?; while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done; echo "$code" > "$0"; exit "$code"'
        /nel/.launched-client
        bash
        /nel/task/run.sh
    )
}
