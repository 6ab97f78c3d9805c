#!/bin/bash
# Rendered by r1rl submit; to change it, change the recipe or the cluster profile.
#SBATCH --job-name=seven
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --partition=gpu
#SBATCH --account=lab
#SBATCH --time=08:00:00
#SBATCH --chdir=/home/me/r1rl
#SBATCH --output=runs/slurm/seven-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
set -euo pipefail

# What this task of the job trains.
case "${SLURM_ARRAY_TASK_ID:-0}" in
  0) NAME=seven; WORDS=(--ddp_timeout 1800) ;;
  *) echo "no run has number ${SLURM_ARRAY_TASK_ID:-0}" >&2; exit 2 ;;
esac
RUN_FOLDER=runs/$NAME
RESTARTS=${SLURM_RESTART_COUNT:-0}
mkdir -p runs/slurm
export R1RL_STOP_FILE=runs/slurm/stop-$SLURM_JOB_ID
rm -f "$R1RL_STOP_FILE"
# Slurm requeues a preempted job by itself, whatever this script has counted.
if [ "$RESTARTS" -gt 10 ]; then
  echo "restart $RESTARTS: $NAME has had its 10 requeues, it is left as it is (--max-requeues)" >&2
  exit 1
fi
if [ "$RESTARTS" -gt 0 ]; then
  [ ! -d "$RUN_FOLDER" ] || WORDS+=(--resume true)
  if compgen -G "$RUN_FOLDER/checkpoints/checkpoint-*/manifest.json" > /dev/null; then
    echo "restart $RESTARTS: $NAME goes on from its last checkpoint"
  else
    echo "restart $RESTARTS: WARNING: $NAME has no whole checkpoint and starts from scratch" >&2
  fi
fi

export R1RL_EXPECTED_WORLD_SIZE=16
export R1RL_SHARED_ERRORS=runs/slurm/errors-$SLURM_JOB_ID-$RESTARTS
export PYTHONUNBUFFERED=1 TORCH_NCCL_ASYNC_ERROR_HANDLING=1 TORCH_SHOW_CPP_STACKTRACES=0
mapfile -t HOSTS < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export MASTER_ADDR=${HOSTS[0]}
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
INSIDE=()
PYTHON=python3
echo "job $SLURM_JOB_ID: $NAME, 2 node(s), 16 process(es), time-out 1800 s; nodes ${HOSTS[*]}"

SERVER=
# The job's own end takes the server along; a signal asks the training for a checkpoint at its next step's end.
trap '[ -z "$SERVER" ] || kill "$SERVER" 2> /dev/null || true' EXIT
trap 'echo "signal: a checkpoint is written at the end of this step"; touch "$R1RL_STOP_FILE"' USR1 TERM

requeue() {
  rm -f "$R1RL_STOP_FILE"
  if [ "$RESTARTS" -ge 10 ]; then
    echo "$NAME was stopped before its end, after 10 requeues: not requeued again (--max-requeues)" >&2
    exit 1
  fi
  echo "$NAME was stopped before its end: requeued, $((RESTARTS + 1)) of at most 10 times"
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}

TRAIN_HOSTS=$(IFS=,; echo "${HOSTS[*]:0:2}")
# One task a node; one that ends badly ends the others.
# shellcheck disable=SC2016 # the node's number is the node's to say
srun --nodes=2 --ntasks=2 --nodelist="$TRAIN_HOSTS" --kill-on-bad-exit=1 --wait=30 \
  "${INSIDE[@]}" bash -c 'python=$1; shift; exec "$python" -m r1rl.launch.agent launch --config_file /opt/r1rl/recipes/accelerate/zero3.yaml --num_processes 16 --num_machines 2 --rdzv_backend static --same_network --deepspeed_multinode_launcher standard --machine_rank "$SLURM_PROCID" --main_process_ip "$MASTER_ADDR" --main_process_port "$MASTER_PORT" -m r1rl.train "$@"' r1rl "$PYTHON" --config seven.yaml "${WORDS[@]}" --name "$NAME" &
TRAINING=$!
while kill -0 "$TRAINING" 2> /dev/null; do
  wait "$TRAINING" || true # a trapped signal ends it alone
done
CODE=0
wait "$TRAINING" || CODE=$?

if grep -q '"finished": true' "$RUN_FOLDER/result.json" 2> /dev/null && [ "$CODE" -eq 0 ]; then
  echo "$NAME is finished"
  exit 0
fi
[ ! -e "$R1RL_STOP_FILE" ] || requeue
echo "$NAME failed with exit code $CODE" >&2
exit "$((CODE == 0 ? 1 : CODE))"
