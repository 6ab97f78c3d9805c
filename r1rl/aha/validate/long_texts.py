"""Precision and recall on long free text of other people's models, labelled by hand.

The texts are not ours to ship: `labels/long_texts.jsonl` holds what was labelled where, with the repository, commit,
path and hash of every text. `texts` fetches them from clones of these repositories, so that anybody can measure anew;
without them the stored figures stand. The traces were split by lot into a half that the detectors were mended on,
"tuned", and one that was measured when that was done, "untouched".

Intervals resample traces, as the spans of one are alike; where that interval is narrower than Wilson's, that one holds.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from r1rl.aha.detect.annotation import annotate
from r1rl.aha.detect.reasoning import reasoning_spans
from r1rl.aha.detect.text_kind import text_kind
from r1rl.aha.validate import validation
from r1rl.aha.validate.scores import Score
from r1rl.aha.validate.validation import TUNED, UNTOUCHED

ALL: Final = "long text"
"""The corpus of all kinds together."""

COPIES: Final = "texts.jsonl"


def texts(folder: Path) -> dict[str, str]:
    """Trace -> its text, from `folder`, which holds clones named OWNER+NAME, or a file `texts.jsonl` of copies.

    Raises ValueError, which names the repository, for a text that is not there or is not the one that was labelled.
    """
    copies: dict[str, str] = {}
    if (folder / COPIES).is_file():
        for line in (folder / COPIES).read_text("utf-8").splitlines():
            one = json.loads(line)
            copies[one["sha256"]] = one["text"]
    found = {}
    for row in validation.labelled_long():
        text = copies.get(row["sha256"])
        if text is None:
            text = _field(folder, row, row["at"])[slice(*row["cut"])]
        if hashlib.sha256(text.encode()).hexdigest() != row["sha256"]:
            raise ValueError(
                f"texts={str(folder)!r}: {row['path']} of {row['source']} is not the text that was labelled"
            )
        found[row["id"]] = text
    return found


def _field(folder: Path, row: Mapping[str, Any], at: list[Any]) -> Any:
    for clone in (folder / row["source"].replace("/", "+"), folder / row["source"].replace("/", "+") / "repo"):
        if clone.is_dir() and (shown := _show(str(clone), row["commit"], row["path"])) is not None:
            for step in at:
                shown = shown[step]
            return shown
    name = row["source"].replace("/", "+")
    raise ValueError(
        f"texts={str(folder)!r}: no clone of {row['source']} with commit {row['commit'][:12]}; "
        f"clone it there as {name}, or leave --texts out to see the stored figures"
    )


@cache
def _show(clone: str, commit: str, path: str) -> Any:
    """A file of JSON or of JSON lines at a commit; None where the clone has none."""
    done = subprocess.run(["git", "-C", clone, "show", f"{commit}:{path}"], capture_output=True, check=False)
    if done.returncode:
        return None
    text = done.stdout.decode()
    return [json.loads(line) for line in text.splitlines()] if path.endswith("jsonl") else json.loads(text)


def rows(found: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The labelled traces as rows that `annotate` reads, each with its `text_kind`; `found` are `texts`."""
    for label in validation.labelled_long():
        text = found[label["id"]]
        opened = text.startswith("<think>")
        row = {**label, "completion": text, "prefill": "" if opened else "<think>", "prompt": "", "meta": "{}"}
        row["counts"] = {"slips": label["slips"]}
        spans = reasoning_spans(text, row["prefill"])
        yield {**row, "text_kind": text_kind(text, spans, label["verifier"], code_only=False)}


def scores(found: Mapping[str, str]) -> list[Score]:
    """Every detector on each half: by kind of text, and all together."""
    labelled = [(row, annotate(row)) for row in rows(found)]
    kinds = sorted({row["text_kind"] for row, _ in labelled})
    measured = []
    for half in (TUNED, UNTOUCHED):
        mine = [(row, seen) for row, seen in labelled if half == ", " + row["half"]]
        measured += validation.score_annotated(mine, ALL + half, clustered=True)
        for kind in kinds:
            of_kind = [(row, seen) for row, seen in mine if row["text_kind"] == kind]
            measured += validation.score_annotated(of_kind, kind + half, clustered=True)
    return measured
