"""The optimizer step: scoring, batching, packed attention, fused layers."""
