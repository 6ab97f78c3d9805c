"""Recipes: keys, checks, launchers, loading."""
