environment_of_server() {
    export PYTHONUNBUFFERED=1
    MASTER_IP=$(address_of "${nodelist%%,*}")
    ALL_NODE_IPS=$(addresses_of "$nodelist")
    NODES_PER_INSTANCE=2
    export MASTER_IP ALL_NODE_IPS NODES_PER_INSTANCE
}

command_of_server() {
    STEP=(
        srun
        --overlap
        --kill-on-bad-exit=1
        --cpu-bind=none
        --open-mode=append
        --nodes=2
        --ntasks=2
        --nodelist="$nodelist"
        --output=/scratch/runs/nel-0123456789abcdef-1/logs/server-"$1".log
        '--container-image=registry.example#server:1.0'
        --container-mounts=/scratch/runs/nel-0123456789abcdef-1/run:/nel
        --container-workdir=/nel/work
        --container-mount-home
        '--container-env=ALL_NODE_IPS,MASTER_IP,NEL_SERVER_ID,NODES_PER_INSTANCE,PROC_ID,PYTHONUNBUFFERED,SLURM_PROCID'
        sh
        -c
        'echo > "$0"; PROC_ID=${SLURM_PROCID:-0}; export PROC_ID; [ "$PROC_ID" != 0 ] || echo $$ > "$0.pid"; exec "$@"'
        /nel/.launched-server-"$1"
        bash
        /nel/work/ray_serve.sh
        vllm
        serve
        acme/model-1
        --served-model-name
        acme-7b
        --host
        127.0.0.1
        --port
        "$port"
        --tensor-parallel-size
        4
        --pipeline-parallel-size
        2
        --data-parallel-size
        2
        --distributed-executor-backend
        ray
    )
}
