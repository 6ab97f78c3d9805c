"""What runs on one GPU, and how fast, with random weights and no network: `python -m benchmarks.gpu_check`.

Every part has a process of its own and a time limit, so that one that fails leaves the others; it becomes a row with
the first line of its error. `--tiny` runs everything on the CPU with miniature models, to check this script itself.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from r1rl.ground import machine, whole_files
from r1rl.ground.errors import RecipeError, one_line
from r1rl.run import exits

TINY_RECIPE: Final = Path(__file__).resolve().parents[1] / "recipes" / "tiny" / "countdown.yaml"
PACKAGES: Final = ("r1rl", "torch", "transformers", "trl", "accelerate", "peft", "vllm")
SECONDS: Final = 570  # of all parts together
# Of Qwen2.5-0.5B, as published; and the same in miniature.
QWEN: Final = {
    "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    "intermediate_size": 4864, "vocab_size": 151936, "max_position_embeddings": 32768, "rope_theta": 1e6,
    "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
}  # fmt: skip
MINIATURE: Final = QWEN | {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 320
}  # fmt: skip
_STEPS, _COUNTED = 4, 3  # of a training, and its last ones, which count: the first one warms up
_TURNS = 3  # of each engine, behind each other
_SMALL_GRADIENT = 1e-3  # of the whole gradient's norm; parameters below it differ by rounding alone


@dataclass(frozen=True)
class Row:
    """A line of the table; None where a part does not measure something.

    Args:
        check: what was run.
        seconds: median of a step.
        tokens: sampled a second of sampling.
        peak, planned: GB (10^9 bytes) that tensors held at most, and what `r1rl plan` says without libraries; on a
            CPU the process's memory.
        gap: nats between sampling's log-probabilities and the update's.
        result: everything else in words.
    """

    check: str
    seconds: float | None = None
    tokens: float | None = None
    peak: float | None = None
    planned: float | None = None
    gap: float | None = None
    result: str = "ok"
    failed: bool = False


HEADS: Final = ("check", "s a step", "tokens/s", "peak GB", "planned GB", "logp_gap", "result")


@dataclass(frozen=True)
class Setting:
    """What a part is given: where it may write, and whether everything is in miniature, on the CPU."""

    folder: Path
    tiny: bool

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def words(self, **keys: Any) -> list[str]:
        """Words of a command line; keys that are None stay out."""
        keys = {"runs_dir": self.folder / "runs", "disable_tqdm": True, "report_to": "none", "seed": 0, **keys}
        if self.tiny:
            keys |= {"use_cpu": True}
        return [word for key, value in keys.items() if value is not None for word in (f"--{key}", str(value))]

    def recipe(self, **keys: Any) -> Path:
        """A recipe of some GRPO steps for the model, every group with signal."""
        own = {
            "model_name_or_path": str(self.model), "task": "countdown", "prompt_template": "r1-zero",
            "reward_funcs": ["benchmarks.families:paid"], "prompts_per_step": 2 if self.tiny else 8,
            "num_generations": 4 if self.tiny else 8, "max_completion_length": 12 if self.tiny else 128,
            "max_steps": _STEPS, "train_size": 64, "heldout_size": 2, "eval_steps": 0, "max_wasted_steps": 0,
            "learning_rate": 1e-6, "bf16": True, "gradient_checkpointing": True,
        }  # fmt: skip
        path = self.folder / f"{len(list(self.folder.glob('*.yaml')))}.yaml"
        path.write_text(yaml.safe_dump(own | keys), encoding="utf-8")
        return path


def write_model(setting: Setting) -> list[Row]:
    """Qwen2.5-0.5B's shape with random weights, and a tokenizer of some 300 tokens; no rows."""
    import torch
    import transformers

    from benchmarks.families import Case, write_tokenizer

    config = transformers.Qwen2Config(**(MINIATURE if setting.tiny else QWEN), bos_token_id=None, eos_token_id=None)
    torch.manual_seed(0)
    transformers.Qwen2ForCausalLM(config).save_pretrained(setting.model)
    write_tokenizer(Case("Qwen2"), setting.model)
    return []


# Parts. Each returns its rows; libraries are imported in the part's own process.


def tiny_recipe(setting: Setting) -> list[Row]:
    """The shipped base on its own recipe, by `r1rl train`'s own entry."""
    from r1rl.train import main as train

    steps = 2 if setting.tiny else 20
    small = {"prompts_per_step": 2, "heldout_size": 8, "num_generations": 4, "max_completion_length": 32}
    keys = {"max_steps": steps, "eval_steps": steps, "name": "tiny", **(small if setting.tiny else {})}
    code = train.main(["--config", str(TINY_RECIPE), *setting.words(**keys)])
    logged = (setting.folder / "runs" / "tiny" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in logged]
    held = [line["heldout/accuracy"] for line in lines if "heldout/accuracy" in line]
    result = f"held-out accuracy {held[0]:.1%} before, {held[-1]:.1%} after {steps} steps (exit code {code})"
    gaps = [line["sampling/logp_gap"] for line in lines if "sampling/logp_gap" in line]
    return [Row("tiny recipe", peak=_peak(), gap=_median(gaps), result=result, failed=code != 0)]


def grpo(setting: Setting, *, engine: str, lora: bool, checkpointing: bool) -> list[Row]:
    """Some steps of the 0.5B model, measured."""
    recipe = setting.recipe(engine=engine, gradient_checkpointing=checkpointing, **(_LORA if lora else {}))
    return [_trained(setting, recipe, f"{engine}, {'LoRA' if lora else 'full'}, checkpointing {_ON[checkpointing]}")]


def vllm(setting: Setting) -> list[Row]:
    """Two steps with colocated vLLM."""
    check = "vLLM colocated, 2 steps"
    if importlib.util.find_spec("vllm") is None:
        return [Row(check, result="not installed")]
    keys = {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.3, "max_steps": 2}
    return [_trained(setting, setting.recipe(**keys), check)]


def sampling(setting: Setting) -> list[Row]:
    """The embedded engine and TRL's `generate` take turns on the same prompts and weights."""
    trainer = _trainer(setting, setting.recipe())
    times: dict[bool, list[float]] = {True: [], False: []}
    rates: dict[bool, list[float]] = {True: [], False: []}

    def measure() -> None:
        prompts = trainer.processing_class([row["prompt"] for row in _inputs(trainer)])["input_ids"]
        for number in range(1 + _TURNS):
            for trainer.embedded in (True, False)[:: -1 if number % 2 else 1]:
                seconds, (ids, _) = _timed(lambda: trainer._generate_single_turn(prompts, None, {}, 1))
                if number:  # the first turns warm up
                    times[trainer.embedded].append(seconds)
                    rates[trainer.embedded].append(sum(map(len, ids)) / seconds)

    _within(trainer, measure)
    ratios = [theirs / ours for ours, theirs in zip(times[True], times[False], strict=True)]
    spread = f"{min(ratios):.2f}–{max(ratios):.2f} in {len(ratios)} turns"
    result = f"generate takes {statistics.median(ratios):.2f}x the embedded engine's time ({spread})"
    return [
        Row("sampling alone, embedded", tokens=_median(rates[True]), result=result),
        Row("sampling alone, generate", tokens=_median(rates[False])),
    ]


def gradients(setting: Setting, *, bf16: bool) -> list[Row]:
    """r1rl's gradient beside that of plain TRL's loss, on rollouts that the trainer has sampled."""
    keys = {"bf16": bf16, "gradient_checkpointing": False, "prompts_per_step": 2, "num_generations": 4}
    trainer = _trainer(setting, setting.recipe(**keys))
    found: dict[str, dict[str, Any]] = {}

    def gradient(model: Any, batch: dict[str, Any], *, ours: bool) -> dict[str, Any]:
        trainer._can_score = ours
        trainer.model.zero_grad()
        trainer.accelerator.backward(trainer._compute_loss(model, dict(batch)))
        return {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}

    def measure() -> None:
        batch = trainer._generate_and_score_completions(_inputs(trainer))
        model = trainer.model_wrapped
        model.train()
        found["ours"], found["theirs"] = (gradient(model, batch, ours=ours) for ours in (True, False))
        if trainer.args.bf16:
            trainer.model.forward = trainer.model._original_forward  # accelerate's name for it, without autocast
            trainer.accelerator.autocast = nullcontext
            found["fp32"] = gradient(model, batch, ours=False)

    _within(trainer, measure)
    whole, largest = differences(found["ours"], found["theirs"])
    result = f"relative difference {whole:.1e}, at most {largest:.1e} in a parameter"
    if "fp32" in found:
        result += f"; TRL's own from its fp32: {differences(found['theirs'], found['fp32'])[0]:.1e}"
    return [Row(f"gradient against plain TRL's, {'bf16' if trainer.args.bf16 else 'fp32'}", result=result)]


_LORA: Final = {"use_peft": True, "lora_target_modules": "all-linear", "lora_r": 16}
_ON: Final = {True: "on", False: "off"}
# Name -> seconds and what is run. LoRA in every combination; all weights, where memory is the question, in fewer.
PARTS: Final[dict[str, tuple[int, Callable[[Setting], list[Row]]]]] = {
    "tiny recipe": (150, tiny_recipe),
    "gradient fp32": (90, partial(gradients, bf16=False)),
    "gradient bf16": (90, partial(gradients, bf16=True)),
    "sampling": (120, sampling),
    **{
        f"{engine}, {'LoRA' if lora else 'full'}, checkpointing {_ON[checkpointing]}": (
            120,
            partial(grpo, engine=engine, lora=lora, checkpointing=checkpointing),
        )
        for lora, checkpointing in ((True, True), (True, False), (False, True), (False, False))
        for engine in ("embedded", "generate")
        if lora or engine == "embedded"
    },
    "vLLM": (150, vllm),
}


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[float, float]:
    """|ours - theirs| / |theirs| over all parameters, and the largest of one whose gradient counts.

    Raises:
        ValueError: not the same parameters have gradients, or there is none.
    """
    if ours.keys() != theirs.keys():
        raise ValueError(f"other parameters have gradients: {sorted(ours.keys() ^ theirs.keys())[:3]}")
    apart = {name: (ours[name].double() - theirs[name].double()).norm().item() for name in theirs}
    sizes = {name: gradient.double().norm().item() for name, gradient in theirs.items()}
    whole = sum(size**2 for size in sizes.values()) ** 0.5
    if not whole:
        raise ValueError("there is no gradient to compare")
    most = max(apart[name] / size for name, size in sizes.items() if size >= _SMALL_GRADIENT * whole)
    return sum(gap**2 for gap in apart.values()) ** 0.5 / whole, most


class _Over(BaseException):
    """What was to be measured is. No Exception, so that no library takes it for a failure."""


def _trainer(setting: Setting, recipe: Path) -> Any:
    """The trainer of a run, without evaluations."""
    from r1rl.recipe import load
    from r1rl.train import callbacks
    from r1rl.train import main as train

    loaded = load.load(recipe, setting.words(name=recipe.stem))
    trainer, _ = train.build_trainer(loaded, train.open_folder(loaded), *train.find_model(loaded))
    trainer.remove_callback(callbacks.EvaluateEvery)
    return trainer


def _inputs(trainer: Any) -> list[dict[str, Any]]:
    """The dataset rows of a step."""
    size = trainer.num_generations
    count = trainer.args.per_device_train_batch_size * trainer.args.steps_per_generation // size
    return [trainer.train_dataset[i] for i in range(count) for _ in range(size)]


def _within(trainer: Any, measure: Callable[[], None]) -> None:
    """Call `measure` where training has made everything ready, as autocast."""
    from transformers import TrainerCallback

    class Instead(TrainerCallback):
        def on_step_begin(self, *arguments: Any, **options: Any) -> None:
            measure()
            raise _Over

    trainer.add_callback(Instead())
    try:
        trainer.train()
    except _Over:
        return


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, the accelerator's work included, and what it returns."""
    _wait()
    started = time.perf_counter()
    value = call()
    _wait()
    return time.perf_counter() - started, value


def _wait() -> None:
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _peak() -> float:
    """GB of this process's tensors at most; on a CPU, of its memory."""
    import torch

    if torch.accelerator.is_available():
        return torch.accelerator.max_memory_allocated() / 1e9
    return (machine.peak_memory() or 0) / 1e9


def _trained(setting: Setting, recipe: Path, check: str) -> Row:
    """A training's figures."""
    from transformers import TrainerCallback

    trainer = _trainer(setting, recipe)
    steps: list[float] = []
    rates: list[float] = []
    sample = trainer._generate_single_turn

    def sampled(*arguments: Any, **options: Any) -> Any:
        seconds, found = _timed(lambda: sample(*arguments, **options))
        rates.append(sum(map(len, found[0])) / seconds)
        return found

    class Clock(TrainerCallback):
        def on_step_begin(self, *arguments: Any, **options: Any) -> None:
            _wait()
            self.began = time.perf_counter()

        def on_step_end(self, *arguments: Any, **options: Any) -> None:
            _wait()
            steps.append(time.perf_counter() - self.began)

    trainer._generate_single_turn = sampled
    trainer.add_callback(Clock())
    trainer.train()
    gaps = [line["sampling/logp_gap"] for line in trainer.state.log_history if "sampling/logp_gap" in line]
    norms = [line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line]
    learns = bool(norms) and all(0 < norm < float("inf") for norm in norms)
    return Row(
        check,
        seconds=_median(steps[-_COUNTED:]),
        tokens=_median(rates[-_COUNTED:]),
        peak=_peak(),
        planned=planned(setting, recipe),
        gap=_median(gaps),
        result="ok" if learns else f"gradient norms {norms}",
        failed=not learns,
    )


def planned(setting: Setting, recipe: Path) -> float:
    """GB that `r1rl plan` says, without what is no tensor on a GPU; completions are as long as they can be."""
    import torch

    from r1rl.plan import plan
    from r1rl.plan.work import Machines

    machines = Machines(gpus=0, mean_share=1.0)
    if not setting.tiny:
        module = torch.get_device_module()
        machines = Machines(gpus=1, memory=float(module.get_device_properties(0).total_memory), mean_share=1.0)
    held = plan.make(recipe, [], machines, check_gold=False).memory["ddp"]
    return (held.peak - (0.0 if setting.tiny else held.libraries)) / 1e9


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


# What starts the parts, and shows them.


def measure(tiny: bool, names: Sequence[str], seconds: float = SECONDS) -> Iterator[Row]:
    """The rows of these parts, one process after another, all together within `seconds`."""
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="r1rl-gpu-") as name:
        folder = Path(name)
        made = run_part("model", folder, tiny, 120)
        if any(row.failed for row in made):
            yield from made
            return
        for part in names:
            left = until - time.monotonic()
            if left < 10:
                yield Row(part, result=f"not run: {seconds:g} s were over", failed=True)
            else:
                yield from run_part(part, folder, tiny, min(PARTS[part][0], left))


def run_part(part: str, folder: Path, tiny: bool, seconds: float) -> list[Row]:
    """A part's rows, from a process of its own; one row with the first line of what went wrong where it failed."""
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    words = ["--part", part, "--folder", str(folder), *(["--tiny"] if tiny else [])]
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"} | (
        {"CUDA_VISIBLE_DEVICES": ""} if tiny else {}
    )
    with (folder / "log").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu_check", *words],
            stdout=log,
            stderr=log,
            env={**os.environ, **offline},
            start_new_session=True,  # so that its own processes end with it
        )
        try:
            code = process.wait(timeout=seconds)
            message = f"exit code {code}"
        except subprocess.TimeoutExpired:
            message = f"no result within {seconds:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if answer.is_file():
            return [Row(**row) for row in json.loads(answer.read_text(encoding="utf-8"))]
        log.seek(0)
        last = log.read()[-3000:].strip()
    sys.stderr.write(f"{part}: {message}; the end of what it said:\n{last}\n")
    return [Row(part, result=f"failed: {message}", failed=True)]


def answer_part(part: str, setting: Setting) -> None:
    """Run a part in this process, and write its rows, or its error as one."""
    rows: list[Row] = []
    try:
        rows = write_model(setting) if part == "model" else PARTS[part][1](setting)
    except Exception as error:
        sys.stderr.write(one_line(error) + "\n")
        rows = [Row(part, result=f"failed: {first_line(error)}", failed=True)]
    whole_files.write_text(setting.folder / "answer.json", json.dumps([asdict(row) for row in rows]))


def first_line(error: BaseException) -> str:
    """The first line of an error, without what says where files lie."""
    text = re.sub(r"(?:/[^/\s:]+){2,}/", "", next(iter(str(error).strip().splitlines()), ""))
    return f"{type(error).__name__}: {text}"[:200].rstrip(": ")


def content(rows: Sequence[Row], *, tiny: bool) -> dict[str, Any]:
    """All that is kept of a run; no dates."""
    import torch

    device = machine.processor() if tiny else torch.get_device_module().get_device_properties(0).name
    versions = {name: version for name in PACKAGES if (version := _version(name)) is not None}
    return {"device": device, "dry_run": tiny, "versions": versions, "rows": [asdict(row) for row in rows]}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of `HEADS`."""
    numbers = (row.seconds, row.tokens, row.peak, row.planned, row.gap)
    return row.check, *("" if n is None else f"{n:,.0f}" if n >= 1000 else f"{n:.3g}" for n in numbers), row.result


def markdown(kept: dict[str, Any]) -> str:
    """What is kept of a run as a Markdown table."""
    versions = ", ".join(f"{name} {version}" for name, version in kept["versions"].items())
    what = "**Dry run on a CPU with miniature models, which says nothing of a GPU**: " if kept["dry_run"] else ""
    lines = [f"{what}{kept['device']}; {versions}", "", f"| {' | '.join(HEADS)} |", f"|---|{'--:|' * 5}---|"]
    rows = [cells(Row(**row)) for row in kept["rows"]]
    lines += [f"| {' | '.join(text.replace('|', chr(92) + '|') for text in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def show(kept: dict[str, Any]) -> None:
    """The table for a terminal."""
    from rich.console import Console
    from rich.table import Table

    kind = "dry run on a CPU, " if kept["dry_run"] else ""
    table = Table(title=f"{kind}{kept['device']}", title_justify="left")
    for head in HEADS:
        words = head in (HEADS[0], HEADS[-1])
        table.add_column(head, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for row in kept["rows"]:
        table.add_row(*cells(Row(**row)), style="red" if row["failed"] else None)
    Console(width=None if sys.stdout.isatty() else 160, markup=False).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts, print the table; 0, 1 where a part failed, 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__.partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="on the CPU with miniature models, to check the script")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument(
        "--only", nargs="+", choices=list(PARTS), metavar="PART", default=list(PARTS), help=f"of: {'; '.join(PARTS)}"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="print what --out wrote as Markdown, and end")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    return exits.guarded(lambda: _run(parsed))


def _run(parsed: argparse.Namespace) -> int:
    if parsed.markdown is not None:
        try:
            sys.stdout.write(markdown(json.loads(parsed.markdown.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RecipeError(f"markdown={str(parsed.markdown)!r}: not what --out writes: {one_line(error)}") from error
        return exits.SUCCESS
    if parsed.part is not None:
        answer_part(parsed.part, Setting(parsed.folder, parsed.tiny))
        return exits.SUCCESS
    if not parsed.tiny and not machine.visible_gpus():
        raise RecipeError("no GPU is visible to torch; --tiny runs everything in miniature on the CPU")
    rows = []
    for row in measure(parsed.tiny, parsed.only):
        sys.stderr.write(f"{row.check}: {row.result}\n")
        rows.append(row)
    kept = content(rows, tiny=parsed.tiny)
    show(kept)
    if parsed.out is not None:
        whole_files.write_text(parsed.out, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return exits.FAILURE if any(row.failed for row in rows) else exits.SUCCESS


if __name__ == "__main__":
    sys.exit(main())
