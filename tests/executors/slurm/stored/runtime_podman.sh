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
        podman
        --root
        /scratch/p
        run
        --rm
        --network=host
        --pid=host
        --entrypoint=
        --volume
        /scratch/runs/nel-0123456789abcdef-1/run:/nel
        --volume
        /shared/a:/a
        --volume
        /models/acme:/checkpoint:ro
        --volume
        /cache/hf:/cache
        --volume="$HOME:$HOME"
        --env
        ALL_NODE_IPS
        --env
        MASTER_IP
        --env
        NEL_SERVER_ID
        --env
        NODES_PER_INSTANCE
        --env
        PROC_ID
        --env
        PYTHONUNBUFFERED
        --env
        SLURM_PROCID
        --device
        nvidia.com/gpu=all
        --workdir
        /nel/work
        --ipc=host
        registry.example/server:1.0
        sh
        -c
        '{ trap '"'"''"'"' TERM; while kill -0 $PPID && kill -0 $$; do sleep 1; done; kill -TERM -$$ && sleep 5 && kill -KILL -$$; } </dev/null >/dev/null 2>&1 & exec "$@"'
        guard
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
        podman
        run
        --rm
        --network=host
        --pid=host
        --entrypoint=
        --volume
        /scratch/runs/nel-0123456789abcdef-1/run:/nel
        --volume="$HOME:$HOME"
        --env
        NEL_SERVER_ID
        --workdir
        /nel/work
        haproxy:latest
        sh
        -c
        '{ trap '"'"''"'"' TERM; while kill -0 $PPID && kill -0 $$; do sleep 1; done; kill -TERM -$$ && sleep 5 && kill -KILL -$$; } </dev/null >/dev/null 2>&1 & exec "$@"'
        guard
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
        podman
        --root
        /scratch/p
        run
        --rm
        --network=host
        --pid=host
        --entrypoint=
        --volume
        /scratch/runs/nel-0123456789abcdef-1/run:/nel
        --volume
        /shared/b:/b:ro
        --volume
        /data/items:/datasets
        --volume="$HOME:$HOME"
        --env
        MODEL_API_KEY
        --env
        NEL_ENDPOINT_TYPE
        --env
        NEL_MAX_RETRIES
        --env
        NEL_MODEL_ID
        --env
        NEL_OUTPUT_DIR
        --env
        NEL_PARALLELISM
        --env
        NEL_REQUEST_TIMEOUT
        --env
        NEL_SEED
        --env
        NEL_TASK
        --env
        NEL_TASK_DIR
        --env
        NEL_URL
        --env
        NEMO_EVALUATOR_DATASET_DIR
        --env
        NVIDIA_VISIBLE_DEVICES
        --env
        PYTHONUNBUFFERED
        --device
        nvidia.com/gpu=all
        --workdir
        /nel/work
        --ipc=host
        registry.example:5000/acme/harness:2@sha256:0000000000000000000000000000000000000000000000000000000000000000
        sh
        -c
        '{ trap '"'"''"'"' TERM; while kill -0 $PPID && kill -0 $$; do sleep 1; done; kill -TERM -$$ && sleep 5 && kill -KILL -$$; } </dev/null >/dev/null 2>&1 & exec "$@"'
        guard
        sh
        -c
        'echo > "$0"; "$@" & child=$!; trap "kill -TERM $child" TERM; wait "$child"; code=$?; while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done; echo "$code" > "$0"; exit "$code"'
        /nel/.launched-client
        bash
        /nel/task/run.sh
    )
}
