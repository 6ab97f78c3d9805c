"""What a reflection is worth, found by sampling on from inside a rollout."""
