"""The options of commands that may ask a model behind an address."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from r1rl.commands import json_object

if TYPE_CHECKING:
    from r1rl.ground.endpoints import Limits


def add_limits(parser: argparse.ArgumentParser) -> None:
    """How an endpoint is asked."""
    remote = parser.add_argument_group("endpoints")
    remote.add_argument("--parallel", type=int, default=8, metavar="N", help="requests at a time (default: 8)")
    remote.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="for one try (default: 600)")
    remote.add_argument("--retries", type=int, default=5, metavar="N", help="after overload or failure (default: 5)")
    remote.add_argument("--price", type=_price, metavar="READ,WRITTEN", help="of a million tokens, for the cost")
    remote.add_argument("--max-cost", type=float, metavar="C", help="stop before more than this is spent")
    remote.add_argument(
        "--body", type=json_object, default={}, metavar="JSON", help="fields of a request; null: leave out"
    )


def limits_of(parsed: argparse.Namespace) -> Limits:
    """What these options say. Raises RecipeError for one that is out of range."""
    from r1rl.ground.endpoints import Limits

    return Limits(parsed.parallel, parsed.timeout, parsed.retries, parsed.price, parsed.max_cost, parsed.body)


def _price(text: str) -> tuple[float, float]:
    try:
        read, written = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: need two numbers such as 2.5,10") from None
    return read, written
