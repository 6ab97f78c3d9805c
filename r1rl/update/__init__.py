"""The optimizer step: scoring, batching, packed attention."""
