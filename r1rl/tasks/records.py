"""Rows of a data set as they are stored: lines, lists and tables in files, and data sets of the hub."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from r1rl.ground.errors import MissingDataError, RecipeError, one_line

SUFFIXES: Final = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")

_ROWS_AT_ONCE = 1024


def of_file(path: str) -> Iterator[tuple[int, Any]]:
    """Numbered records, from 1, one after another; a line that cannot be read appears as the ValueError that says why.

    Raises:
        RecipeError: the file cannot be read as what its name ends in.
    """
    file = Path(path).expanduser()
    suffix = file.suffix.lower()
    try:
        if suffix == ".parquet":
            import pyarrow.parquet as parquet

            with parquet.ParquetFile(file) as table:
                batches = table.iter_batches(_ROWS_AT_ONCE)
                yield from enumerate(itertools.chain.from_iterable(batch.to_pylist() for batch in batches), 1)
        elif suffix == ".csv":
            with file.open(encoding="utf-8-sig", newline="") as stream:
                yield from enumerate(csv.DictReader(stream), 1)
        elif suffix == ".json":
            content = json.loads(file.read_text(encoding="utf-8-sig"))
            if not isinstance(content, list):
                raise RecipeError(f"task_options.path={path!r}: a .json file must be a list of rows")
            yield from enumerate(content, 1)
        else:
            with file.open(encoding="utf-8-sig") as stream:
                for number, line in enumerate(stream, 1):
                    if line.strip():
                        yield number, _json_line(line)
    except RecipeError:
        raise
    # pyarrow's errors and UnicodeDecodeError are ValueErrors
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise RecipeError(f"task_options.path={path!r}: cannot be read as {suffix}: {error}") from None


def of_hub(dataset: str, configs: str | None, revision: str | None, split: str) -> Iterable[Any]:
    """The rows of a hub data set (its library caches the download), of several configurations one after another."""
    import datasets

    pinned = {} if revision is None else {"revision": revision}
    try:
        loaded: list[Iterable[Any]] = [
            datasets.load_dataset(dataset, config or None, split=split, **pinned)
            for config in (configs or "").split("+")
        ]
    except (OSError, ValueError) as error:
        raise MissingDataError(
            f"task_options.dataset={dataset!r} (config={configs!r}, split={split!r}): cannot be loaded: "
            f"{one_line(error)}; a local copy will do: --task_options.path FILE"
        ) from None
    return itertools.chain.from_iterable(loaded)


def pass_rates(path: str) -> dict[str, float]:
    """Rates of right answers by question, of a file of `r1rl data passrate`.

    Raises:
        RecipeError: no such file, or a line that is none of it.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise RecipeError(
            f"task_options.pass_rates={path!r}: no such file; `r1rl data passrate RUN --to FILE` makes it"
        )
    found = {}
    for number, line in of_file(path):
        try:
            found[str(line["prompt_id"])] = float(line["rate"])
        except (LookupError, TypeError, ValueError):
            raise RecipeError(
                f"task_options.pass_rates={path!r}: line {number} has no prompt_id and rate; `r1rl data passrate` "
                "writes them"
            ) from None
    return found


def _json_line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return ValueError(f"not JSON: {error}")
