environment_of_aux_strict_judge() {
    export PYTHONUNBUFFERED=1
    MASTER_IP=$(address_of "${nodelist%%,*}")
    ALL_NODE_IPS=$(addresses_of "$nodelist")
    NODES_PER_INSTANCE=2
    export MASTER_IP ALL_NODE_IPS NODES_PER_INSTANCE
    export JUDGE_MASTER_IP="$MASTER_IP" JUDGE_ALL_NODE_IPS="$ALL_NODE_IPS"
}

command_of_aux_strict_judge() {
    STEP=(
        srun
        --overlap
        --kill-on-bad-exit=1
        --cpu-bind=none
        --open-mode=append
        --nodes=2
        --ntasks=2
        --nodelist="$nodelist"
        --output=/scratch/runs/nel-0123456789abcdef-1/logs/aux_strict_judge-"$1".log
        --container-image=judge:1
        '--container-mounts=/scratch/runs/nel-0123456789abcdef-1/run:/nel,/shared/j:/j'
        --container-workdir=/nel/work
        --container-mount-home
        '--container-env=ALL_NODE_IPS,JUDGE_ALL_NODE_IPS,JUDGE_MASTER_IP,MASTER_IP,NEL_SERVER_ID,NODES_PER_INSTANCE,PROC_ID,PYTHONUNBUFFERED,SLURM_PROCID'
        sh
        -c
        'echo > "$0"; PROC_ID=${SLURM_PROCID:-0}; export PROC_ID; [ "$PROC_ID" != 0 ] || echo $$ > "$0.pid"; exec "$@"'
        /nel/.launched-aux_strict_judge-"$1"
        vllm
        serve
        acme/judge
        --served-model-name
        judge-1
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
 at the same time, then wait for each ------------------------------------------------
serve server 1 1 8000 64001
serve aux_strict_judge 4 2 8000 64003
place_files
launch server aux_strict_judge
await server /health
server_address=${client_addresses[server]}
substitutions[server_address]="s/127\.0\.0\.1:64002/$server_address/g"
await aux_strict_judge /health
balance aux_strict_judge 5010 /health 200
aux_strict_judge_address=${client_addresses[aux_strict_judge]}
substitutions[aux_strict_judge_address]="s/127\.0\.0\.1:64004/$aux_strict_judge_address/g"

