"""What knows nothing of the rest: errors, values, whole files, the cache, what ships, this machine."""
