"""Studies: one recipe in several arms and seeds, trained, measured in the same way, and told side by side."""
