"""The figures of the detectors that ship; `python -m tests.aha.validate.shipped_figures FOLDER` stores them anew.

To be run after a change of the detectors and of DETECTOR_VERSION; FOLDER holds the labelled long texts, as `r1rl aha
validate --texts` wants them. Without it their figures stay as stored, if they are of this version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from r1rl.aha.validate import long_texts, validation
from tests.aha.validate.synthetic import traces

SYNTHETIC = {"traces": 2_000, "seed": 0}
PATH = Path(validation.__file__).parent / "labels" / "results.json"


def measure(texts: Path | None = None) -> dict[str, Any]:
    """What results.json should hold: the figures of the present detectors, on synthetic traces too."""
    long = None if texts is None else long_texts.scores(long_texts.texts(texts))
    made = traces.traces(SYNTHETIC["traces"], seed=SYNTHETIC["seed"])
    scores = [one.as_dict() for one in validation.score(made, validation.SYNTHETIC)]
    found = validation.run(long)
    return {**found, "synthetic": SYNTHETIC, "scores": [*scores, *of_corpora(found, synthetic=False)]}


def of_corpora(results: dict[str, Any], *, synthetic: bool) -> list[dict[str, Any]]:
    return [row for row in results["scores"] if (row["corpus"] == validation.SYNTHETIC) == synthetic]


if __name__ == "__main__":
    found = measure(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    head = json.dumps({key: value for key, value in found.items() if key != "scores"})
    scores = ",\n  ".join(json.dumps(row) for row in found["scores"])
    PATH.write_text(f'{head[:-1]}, "scores": [\n  {scores}\n]}}\n', encoding="utf-8")
