"""One module a format of rollout files; each says how to tell it, and makes rollouts with the store's names of it."""
