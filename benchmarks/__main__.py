"""`python -m benchmarks PART`: measure a part side by side with the plain way, in one run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markdown import Markdown

from benchmarks import plan
from benchmarks.rows import markdown_table
from r1rl.ground.errors import RecipeError
from r1rl.run import exits

EXAMPLES = """\
examples:
  python -m benchmarks train --preset tiny --repeats 7 --warmup 1
  python -m benchmarks rollout --preset smollm2-longtail --peers trl --repeats 1
  python -m benchmarks rollout --preset smollm2-many --peers vllm --dtype bf16
  python -m benchmarks growth --over cap --sizes 128 512 2048
  python -m benchmarks graders --data data --pairs 1000
  python -m benchmarks all --data data
  python -m benchmarks all --only train-tiny growth-group

`all` writes BENCHMARKS.md. It keeps every part as soon as it is measured; after a Ctrl-C or a failure, the same command
goes on where it was, and once all parts are there, it begins anew."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one part, print its rows, and return the exit code: 0; 1 for a failure, 2 for a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(title="parts", metavar="PART", required=True)
    for name, module in {**plan.MODULES, "all": plan}.items():
        part = parts.add_parser(name, help=module.SUMMARY, description=module.SUMMARY)
        part.set_defaults(measure=module.measure)
        module.add_arguments(part)
        part.add_argument("--json", action="store_true", help="print a list of rows and nothing else")
    parsed = parser.parse_args(arguments)
    return exits.guarded(lambda: _run(parsed))


def _run(parsed: argparse.Namespace) -> None:
    try:
        rows = parsed.measure(parsed)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    if parsed.json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    head = f"{rows[0]['machine']}; medians of interleaved repeats" if rows else "nothing was measured"
    Console(width=None if sys.stdout.isatty() else 140).print(Markdown(f"{head}\n\n{markdown_table(rows)}"))


if __name__ == "__main__":
    sys.exit(main())
