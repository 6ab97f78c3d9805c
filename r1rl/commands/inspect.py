"""r1rl inspect: what a run did."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path

from r1rl.commands import foreign, user_errors

SUMMARY = "Show what a run did: a summary and a report, or the web reader (--serve)."
EXAMPLES = """\
examples:
  r1rl inspect runs/countdown-1
  r1rl inspect runs/countdown-1 --json
  r1rl inspect runs/seed0 runs/seed1 --serve --open
  r1rl inspect runs/countdown-1 --follow
  r1rl inspect runs/seed0 runs/seed1 --svg curves.svg --figures accuracy,retried,length
  r1rl inspect logs/math.eval --serve     # rollouts of another tool, see docs/rollouts.md"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, nargs="+", metavar="RUN", help="a run's folder, or rollouts of another tool")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--no-html", action="store_true", help="write no report.html")
    parser.add_argument("--open", action="store_true", help="open the report, or with --serve the reader")
    parser.add_argument("--follow", action="store_true", help="print a line for each new step, until the run ends")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the curves into a picture, of several runs too")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="the same as SVG")
    parser.add_argument(
        "--figures", type=lambda text: text.split(","), metavar="A,B", help="what is drawn (default: emergence)"
    )
    foreign.add_out(parser)
    web = parser.add_argument_group("web reader")
    web.add_argument("--serve", action="store_true", help="serve the web reader, on this machine alone")
    web.add_argument("--port", type=int, metavar="N", help="(default: the first free one from 8421 on)")
    web.add_argument(
        "--host", default="127.0.0.1", metavar="HOST", help="the address to listen on (default: 127.0.0.1)"
    )
    web.add_argument("--token", metavar="TEXT", help="what a reader must know; needed where others reach the address")
    web.add_argument("--control", action="append", default=[], metavar="NAME", help="a run that is a control, by name")


def run(parsed: argparse.Namespace) -> None:
    from r1rl import inspect

    with user_errors():
        _check(parsed)
        parsed.run = foreign.runs_of(parsed.run, parsed.out)
        if parsed.serve:
            from r1rl.inspect.reader.serve import serve

            opened = webbrowser.open if parsed.open else None
            serve(parsed.run, host=parsed.host, port=parsed.port, token=parsed.token, controls=parsed.control,
                  opened=opened)  # fmt: skip
            return
        if pictures := [path for path in (parsed.png, parsed.svg) if path is not None]:
            from r1rl.inspect import picture

            for path in pictures:
                drawn = picture.draw(parsed.run, path, parsed.figures)
                sys.stdout.write(f"picture: {drawn}\n")
            return
        (folder,) = parsed.run
        if parsed.follow:
            from r1rl.inspect.follow import follow

            follow(folder)
            return
        inspect.run(folder, as_json=parsed.json, html=not parsed.no_html)
    if parsed.open:
        webbrowser.open((folder / "report.html").resolve().as_uri())


def _check(parsed: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together."""
    if parsed.serve and (parsed.json or parsed.no_html or parsed.follow):
        raise ValueError("--serve: takes neither --json, --no-html nor --follow; leave one of the two out")
    pictures = [name for name in ("png", "svg") if getattr(parsed, name) is not None]
    if pictures and (parsed.serve or parsed.json or parsed.follow or parsed.open):
        raise ValueError(f"--{pictures[0]}: takes none of --serve, --json, --follow, --open; leave them out")
    if parsed.figures and not pictures:
        raise ValueError("--figures: only with --png or --svg; add one of them, or leave --figures out")
    for name in pictures:
        if getattr(parsed, name).suffix != f".{name}":
            raise ValueError(f"--{name} {getattr(parsed, name)}: need a name that ends in .{name}")
    if not parsed.serve:
        if len(parsed.run) > 1 and not pictures:
            raise ValueError(
                f"{len(parsed.run)} runs: several are read with --serve alone; try r1rl compare, or --serve"
            )
        alone = {"--port": parsed.port, "--token": parsed.token, "--control": parsed.control}
        if given := [name for name, value in alone.items() if value]:
            raise ValueError(f"{given[0]}: only with --serve; add that, or leave {given[0]} out")
    if parsed.follow and (parsed.json or parsed.open):
        raise ValueError("--follow: takes neither --json nor --open; leave one of the two out")
    if parsed.open and parsed.no_html:
        raise ValueError("--open, --no-html: without a report there is none to open; leave one of the two out")
