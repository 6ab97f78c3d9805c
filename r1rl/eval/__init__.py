"""Evaluation: samples of any policy or endpoint on named questions, and what may be said of them."""
