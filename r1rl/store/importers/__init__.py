"""Rollouts that other tools wrote, as a store of their own. One module a format says what its files look like.

Where a tool names a step after the update that follows its rollouts, the store's step is one less: it counts the
updates made before. Where files do not say which rollouts make a group, those of one prompt in one step are one.
"""

from __future__ import annotations

from r1rl.store.importers.detection import FORMATS, guess
from r1rl.store.importers.formats.base import Settings
from r1rl.store.importers.loading import Imported, load
from r1rl.store.importers.opening import opened

__all__ = ["FORMATS", "Imported", "Settings", "guess", "load", "opened"]
