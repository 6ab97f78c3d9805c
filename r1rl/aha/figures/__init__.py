"""Annotations to figures: ratios of sums, intervals, onset, the conclusion in words."""
