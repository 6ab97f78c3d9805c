"""From a recipe to running processes: Accelerate, Slurm."""
