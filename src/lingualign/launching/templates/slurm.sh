#!/bin/bash
# {{ job.command }}
#
# Submit it with `sbatch FILE`. Adapt what is marked with "adapt"; the rest fits most clusters.
# Slurm starts the job anew where it was preempted or its node failed, and the script puts it back into the
# queue before its time is over. Every start goes on where the last one stopped: the run folder must be on a
# file system that all nodes share.
#SBATCH --job-name={{ job.name }}
#SBATCH --nodes={{ job.nodes }}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={{ job.cpus }}
{% if job.gpus %}
#SBATCH --gpus-per-node={{ job.gpu ~ ":" if job.gpu }}{{ job.gpus }}
{% endif %}
#SBATCH --mem=0
#SBATCH --time={{ job.time }}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
#SBATCH --output=%x-%j.log
# adapt: #SBATCH --partition=NAME
# adapt: #SBATCH --account=NAME

cd {{ job.folder | sh }} || exit 1
# adapt: what makes `lingualign` available, such as `source .venv/bin/activate` or `module load`

# TERM comes two minutes before the time is over. Stopping loses no more than the part being computed.
run=
stop() {
    if [ -n "$run" ]; then
        kill -TERM "$run" 2> /dev/null
        wait "$run"
    fi
    # A job that was cancelled is no longer running, and stays cancelled.
    if [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit 143
}
trap stop TERM
{% if job.nodes > 1 %}

# A Ray cluster over the nodes; this script runs on the first.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" ray start --head --port=6379 --block &
until ray status > /dev/null 2>&1; do sleep 2; done
srun --overlap --nodes={{ job.nodes - 1 }} --ntasks={{ job.nodes - 1 }} --exclude="$head" \
    ray start --address="$head:6379" --block &
{% endif %}

{{ job.command }}{{ " ray.address=auto" if job.nodes > 1 }} &
run=$!
wait "$run"
