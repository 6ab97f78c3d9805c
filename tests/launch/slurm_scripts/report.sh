#!/bin/bash
# Rendered by r1rl submit: what was measured of reflection over the seeds of an array, after its last run.
#SBATCH --job-name=seven-report
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --time=01:00:00
#SBATCH --chdir=/home/me/r1rl
#SBATCH --output=runs/slurm/seven-report-%j.txt
#SBATCH --requeue
set -euo pipefail

INSIDE=()
PYTHON=python3
RUNS_DIR=runs
CODE=0

# The seeds of one setting, those that have made all their steps.
report() {
  local finished=() name
  for name in "$@"; do
    if grep -q '"finished": true' "$RUNS_DIR/$name/result.json" 2> /dev/null; then
      finished+=("$RUNS_DIR/$name")
    else
      echo "$name is not finished: left out"
      CODE=1
    fi
  done
  [ -z "${finished[*]:-}" ] || "${INSIDE[@]}" "$PYTHON" -m r1rl.cli aha "${finished[@]}" || CODE=1
}

report seven-seed0-learning_rate1e-6 seven-seed1-learning_rate1e-6 seven-seed2-learning_rate1e-6
report seven-seed0-learning_rate3e-6 seven-seed1-learning_rate3e-6 seven-seed2-learning_rate3e-6
exit "$CODE"
