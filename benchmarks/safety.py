"""Guards on real runs of the tiny base: each provoked once, healthy runs that must not ring, and what all of it costs.

`python -m benchmarks.safety FOLDER [--steps 24]` trains them into FOLDER, those that are there are kept, and prints the
tables of docs/safety.md. `--only cost` times, in one run of the tiny recipe, what is there for safety alone.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from r1rl.ground import whole_files
from r1rl.run.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "tiny" / "countdown.yaml"
SMALL = [
    "--prompts_per_step", "6", "--num_generations", "8", "--heldout_size", "64", "--report_to", "none",
    "--max_completion_length", "96",
]  # fmt: skip
PENALTY = "def penalty(completions, **columns):\n    return [-0.01 * len(text) for text in completions]\n"

RUINED = ["--learning_rate", "{0: 2e-4, 6: 5e-2}", "--eval_steps", "3"]
"""A learning rate that goes wrong at step 6."""
ONLY = ["--guards.all", "off", "--max_steps", "30"]
PROVOKED = {
    "non_finite": ("learning rate 1e30, with a KL term", ["--learning_rate", "1e30", "--beta", "0.01"]),
    "no_variance": (
        "learning rate 5e-2, two prompts a step",
        ["--learning_rate", "5e-2", "--prompts_per_step", "2", "--num_generations", "4", "--max_steps", "40"],
    ),
    "format_lost": ("learning rate 5e-2 from step 6", RUINED),
    "accuracy_lost": (
        "learning rate 5e-2 from step 14, 12 prompts a step",
        ["--learning_rate", "{0: 2e-4, 14: 5e-2}", "--prompts_per_step", "12", "--num_generations", "4"],
    ),
    "truncation": ("max_completion_length 8", ["--max_completion_length", "8", "--max_wasted_steps", "0"]),
    "entropy": ("temperature 0.02", ["--temperature", "0.02"]),
    "repetition": ("limit 0.01", ["--guards.repetition.limit", "0.01"]),
    "kl": ("learning rate 2e-2, with a KL term", ["--learning_rate", "2e-2", "--beta", "0.001"]),
    "sampler_gap": (
        "samples in bfloat16, limit 0.001",
        ["--sampling_dtype", "bfloat16", "--guards.sampler_gap.limit", "0.001"],
    ),
    "heldout_fallen": ("learning rate 5e-2 from step 6", RUINED),
}
ROLLED_BACK = ["--guards.format_lost.action", "roll_back", "--save_steps", "3", "--save_total_limit", "9"]


def train(folder: Path, name: str, words: list[str]) -> tuple[RunFolder, int]:
    """The run of this name, trained unless it is there, and its exit code."""
    run, known = RunFolder(folder / name), folder / f"{name}.json"
    if (before := whole_files.read_json(known)) is None:
        command = [sys.executable, "-m", "r1rl.cli", "train", str(RECIPE), "--runs_dir", str(folder), "--name", name]
        done = subprocess.run([*command, *SMALL, *words], stderr=subprocess.DEVNULL, check=False)
        before = {"code": done.returncode}
        whole_files.write_json(known, before)
    return run, int(before["code"])


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _told(message: str) -> str:
    """What a guard says is wrong, without what it tells to try."""
    return message.partition(": ")[2].partition("; try")[0]


def provoked(folder: Path) -> None:
    """The table of the provoked guards."""
    say("| guard | provoked by | rang at step | exit code | said |\n|---|---|---|---|---|")
    for name, (how, words) in PROVOKED.items():
        run, code = train(folder, f"provoked-{name}", [*ONLY, *words, f"--guards.{name}.action", "stop"])
        rang = [event for event in run.read_events() if event["event"] == "alarm"]
        step, said = (rang[-1]["step"], rang[-1]["message"]) if rang else ("never", "")
        say(f"| `{name}` | {how} | {step} | {code} | {_told(said)} |")
    run, code = train(folder, "rolled-back", [*ONLY, *RUINED, *ROLLED_BACK])
    for event in run.read_events():
        if event["event"] == "rolled_back":
            how = f"the same guard, learning rate x {event['rate_factor']}"
            say(f"| rolled back | {how} | {event['since']} → {event['step']} | {code} | {_told(event['message'])} |")


def healthy(folder: Path, steps: int) -> None:
    """Runs of two recipes and five seeds, with every guard as it is by default."""
    (folder / "penalty.py").write_text(PENALTY)
    punished = ["--reward_funcs", f"{folder / 'penalty.py'}:penalty", "--reward_weights", "1.0"]
    rang = 0
    for recipe, words in (("accuracy and format", []), ("penalties only", punished)):
        for seed in range(5):
            name = f"healthy-{recipe.replace(' ', '-')}-{seed}"
            run, code = train(folder, name, ["--max_steps", str(steps), "--seed", str(seed), *words])
            alarms = [e for e in run.read_events() if e["event"] in ("alarm", "nothing_earned")]
            rang += len(alarms)
            say(f"{name}: exit code {code}, {len(alarms)} alarms {[a.get('guard', a['event']) for a in alarms]}")
    say(f"healthy runs: {rang} alarms")


def cost(folder: Path, steps: int) -> None:
    """One run with a checkpoint every ten steps: seconds a step of each part, and their share of all."""
    from r1rl.run import disk, manifest
    from r1rl.train import callbacks, guards
    from r1rl.train import main as training

    spent: Counter[str] = Counter()

    def timed(call: Callable[..., Any], part: str) -> Callable[..., Any]:
        @functools.wraps(call)
        def measured(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                spent[part] += time.perf_counter() - began

        return measured

    parts: dict[str, tuple[Any, ...]] = {
        "guards": (guards.WatchGuards, callbacks.StopWhenNothingEarned),
        "heartbeat and lock": (callbacks.Beat,),
        "budget": (callbacks.SpendBudget, callbacks.KeepRollouts),
        "signals": (callbacks.FinishOnInterrupt,),
    }
    for part, owners in parts.items():
        for owner in owners:
            for name in [name for name in vars(owner) if name.startswith("on_")]:
                setattr(owner, name, timed(getattr(owner, name), part))
    manifest.write = timed(manifest.write, "manifests")
    disk.need = timed(disk.need, "free space")
    training.train = timed(training.train, "all")
    words = ["--runs_dir", str(folder), "--name", "cost", "--save_steps", "10", "--report_to", "none"]
    training.main(["--config", str(RECIPE), *words, "--max_steps", str(steps)])
    everything = spent.pop("all")
    say("| part | ms a step | share |\n|---|---|---|")
    for part, seconds in [
        *spent.most_common(),
        ("all of it", spent.total()),
        ("a step and its evaluations", everything),
    ]:
        say(f"| {part} | {1000 * seconds / steps:.2f} | {seconds / everything:.2%} |")


def main() -> None:
    """Everything, into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=24, help="of a healthy run")
    parser.add_argument("--only", choices=("provoked", "healthy", "cost"))
    parsed = parser.parse_args()
    parsed.folder.mkdir(parents=True, exist_ok=True)
    if parsed.only in (None, "provoked"):
        provoked(parsed.folder.resolve())
    if parsed.only in (None, "healthy"):
        healthy(parsed.folder.resolve(), parsed.steps)
    if parsed.only in (None, "cost"):
        cost(parsed.folder.resolve(), parsed.steps)


if __name__ == "__main__":
    main()
