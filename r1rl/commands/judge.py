"""r1rl judge: a language model's opinion of a run's rollouts, beside the exact detectors'. Optional."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from r1rl.commands import user_errors

if TYPE_CHECKING:
    from collections import Counter

    from r1rl.aha.judge.cache import Cache
    from r1rl.aha.judge.endpoint import Endpoint
    from r1rl.aha.judge.judged import Result
    from r1rl.aha.judge.sample import Item

SUMMARY = "Ask a language model whether rollouts check themselves, and compare it with the detectors (optional)."
EXAMPLES = """\
examples:
  r1rl judge runs/countdown-1 --url http://127.0.0.1:8000/v1 --model Qwen/Qwen3-32B
  r1rl judge runs/countdown-1 --url … --model … --where "step IN (0, 100)" --sample 400
  R1RL_JUDGE_KEY=… r1rl judge runs/countdown-1 --url https://api.openai.com/v1 --model gpt-4.1 --json
  r1rl judge runs/countdown-1 --model Qwen/Qwen3-32B        # what it said before, nothing is sent

Any OpenAI-compatible endpoint will do (vLLM, SGLang, llama.cpp, Ollama, a hosted one). It is sent the question and
the completion of each rollout and nothing else, in an order that mixes the steps, and has to prove every claim by a
quote; a claim whose quote the completion does not hold is void. A key is read from R1RL_JUDGE_KEY, else
OPENAI_API_KEY. Answers are kept in RUN/annotations/judge/: a judge that was cut off goes on where it stopped, and a
second --model is compared with the first."""

_FILE_WIDTH = 140


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--url", help="the endpoint, as http://HOST:PORT/v1; without it only known answers are shown")
    parser.add_argument("--model", required=True, metavar="NAME", help="the judge, as the endpoint calls it")
    parser.add_argument("--sample", type=int, default=200, metavar="N", help="rollouts, over all steps (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and its order (default: 0)")
    parser.add_argument("--where", default="true", metavar="SQL", help="a condition on rollouts (default: all)")
    parser.add_argument("--kind", choices=("eval", "train"), default="eval", help="(default: eval)")
    parser.add_argument("--parallel", type=int, default=4, metavar="N", help="requests at a time (default: 4)")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="for a reply (default: 120)")
    parser.add_argument("--retries", type=int, default=4, metavar="N", help="after overload or failure (default: 4)")
    parser.add_argument("--max-tokens", type=int, default=1000, metavar="N", help="of a reply (default: 1000)")
    parser.add_argument("--workers", type=int, help="processes that annotate (default: one per available core)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.aha.figures.annotations import compute
    from r1rl.aha.judge import judged, sample
    from r1rl.aha.judge.cache import Cache
    from r1rl.ground.errors import RunFailedError
    from r1rl.ground.machine import cores_of_a_rank

    with user_errors():
        endpoint = _endpoint(parsed)
        workers = cores_of_a_rank() if parsed.workers is None else parsed.workers
        compute(parsed.run, kind=parsed.kind, workers=workers, progress=sys.stderr.isatty())
        items = sample.draw(parsed.run, kind=parsed.kind, where=parsed.where, size=parsed.sample, seed=parsed.seed)
        cache = Cache(parsed.run)
        failed = None if endpoint is None else _ask(items, cache, endpoint)
        try:
            result = judged.measure(parsed.run, parsed.kind, items, cache, parsed.model, failed)
        except ValueError as error:
            if failed:
                raise RunFailedError(str(error)) from error
            raise
    _show(result, as_json=parsed.json)


def _endpoint(parsed: argparse.Namespace) -> Endpoint | None:
    from r1rl.aha.judge.endpoint import Endpoint, api_key

    if not parsed.model.strip():
        raise ValueError("model='': need the judge's name, as the endpoint calls it")
    if parsed.url is None:
        return None
    api_key()
    return Endpoint(
        parsed.url,
        parsed.model,
        max_tokens=parsed.max_tokens,
        timeout_seconds=parsed.timeout,
        retries=parsed.retries,
        parallel=parsed.parallel,
    )


def _ask(items: Sequence[Item], cache: Cache, endpoint: Endpoint) -> Counter[str]:
    from r1rl.aha.judge import judged
    from r1rl.ground.errors import RunFailedError

    try:
        return judged.ask(items, cache, endpoint, progress=sys.stderr.isatty())
    except RunFailedError as error:
        raise RunFailedError(f"{error}; what was answered is kept, and the same command goes on there") from error
    except OSError as error:
        raise RunFailedError(f"an answer cannot be kept: {error}") from error


def _show(result: Result, *, as_json: bool) -> None:
    from rich.console import Console

    from r1rl.aha.judge import terminal

    if as_json:
        sys.stdout.write(json.dumps(terminal.as_json(result), allow_nan=False) + "\n")
        return
    terminal.print_result(result, Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH))
