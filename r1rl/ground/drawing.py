"""What all pictures that matplotlib draws have in common: colours, plain text, quiet axes."""

from __future__ import annotations

from typing import Any, Final

COLOURS: Final = ("#1f6fb2", "#c2611a", "#2a8765", "#93478f", "#77731f", "#3f8098", "#b0405f", "#5b5fc7")


def plain(text: str) -> str:
    """Text that matplotlib takes as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def quiet(axes: Any) -> None:
    """A grid that stays behind, and no frame above and to the right."""
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
