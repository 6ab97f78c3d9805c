"""A run's folder, heartbeats, watchdog, errors of ranks, exit codes."""
