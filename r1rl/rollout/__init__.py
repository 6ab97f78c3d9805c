"""Sampling: engine, decoder, cache, weights."""
