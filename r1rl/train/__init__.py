"""The training run: entry point, trainer, callbacks, guards, held-out evaluation."""
