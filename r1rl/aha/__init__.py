"""Reflection, measured: detectors, figures, counterfactual arms, judge, validation."""
