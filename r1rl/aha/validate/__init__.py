"""Precision and recall of the detectors, on labelled rollouts."""
