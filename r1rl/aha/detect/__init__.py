"""Text to annotations: markers, attempts, goal tests, transitions, hygiene."""
