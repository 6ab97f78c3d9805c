"""What decides what is sampled, and the columns of a sampled continuation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from r1rl.aha.detect.annotation import DETECTOR_VERSION

if TYPE_CHECKING:
    from r1rl.aha.counterfactual.continuations import Continued

_VERSION: Final = 2
KEY: Final = pa.schema({
    "run": pa.string(), "step": pa.int64(), "arm": pa.string(), "point": pa.int32(), "sample": pa.int32(),
    "prompt_id": pa.string(), "source_sample_idx": pa.int32(),
})  # fmt: skip
CONTINUED: Final = pa.schema([
    *KEY,
    *pa.schema({
        "completion": pa.string(), "start": pa.int32(),  # characters; the continuation is completion[start:]
        "kept_tokens": pa.int32(), "stretch_tokens": pa.int32(),  # of the source: before the cut, and from it on
        "n_tokens": pa.int32(), "finish_reason": pa.string(),  # of the continuation
        "verdict": pa.string(), "verdict_reason": pa.string(), "marked": pa.bool_(),  # the continuation has a marker
    }),
])  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What decides what is sampled.

    Args:
        points: places, or rollouts, of a measure and step.
        samples: continuations of an arm and place.
        max_rollouts: rollouts that these are drawn from.
        lexicon: whose markers are cut at, and banned.
        inject, answer: None: chosen by the vocabulary and the rollouts.
        model: another than the run's own policies: a model's name, or an endpoint's URL#MODEL.
        temperature, top_p, extraction: None: as the rollouts were sampled and judged.
        verify_tokens: longest reply to "is this right?".
    """

    points: int = 200
    samples: int = 2
    seed: int = 0
    lexicon: str = "strict"
    inject: str | None = None
    answer: str | None = None
    max_rollouts: int = 2000
    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    extraction: str | None = None
    verify_tokens: int = 64

    def __post_init__(self) -> None:
        for name, least in (("points", 1), ("samples", 1), ("seed", 0), ("max_rollouts", 1), ("verify_tokens", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: need >= {least}")
        if self.temperature is not None and not 0 <= self.temperature <= 10:
            raise ValueError(f"temperature={self.temperature}: need 0 (greedy) to 10")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}: need more than 0, at most 1")

    def as_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "detector_version": DETECTOR_VERSION, "version": _VERSION}


def continued(done: Continued, lexicon: str) -> dict[str, Any]:
    """A continuation as a row of CONTINUED, but for run and step."""
    from r1rl.aha.counterfactual.continuations import first_marker

    branch = done.branch
    prefill = branch.row.get("prefill") or ""
    return {
        "arm": branch.arm,
        "point": branch.point,
        "sample": branch.sample,
        "prompt_id": branch.row["prompt_id"],
        "source_sample_idx": branch.row["sample_idx"],
        "completion": done.completion.encode("utf-8", "replace").decode(),
        "start": done.start,
        "kept_tokens": branch.kept,
        "stretch_tokens": branch.stretch,
        "n_tokens": len(done.token_ids),
        "finish_reason": done.finish_reason,
        "verdict": done.verdict.status,
        "verdict_reason": done.verdict.reason,
        "marked": first_marker(done.completion, done.start, prefill, lexicon) is not None,
    }
