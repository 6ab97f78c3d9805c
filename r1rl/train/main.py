"""Train a recipe: `python -m r1rl.train --config RECIPE [--key value …]`, alone or under `accelerate launch`."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1rl.ground import machine, whole_files
from r1rl.ground.errors import RecipeError, one_line
from r1rl.recipe import changes, checks, launchers
from r1rl.recipe import load as recipe
from r1rl.recipe.load import LoadedRecipe
from r1rl.run import budget, cpu_processes, disk, exits, heartbeats, lock, manifest, parent, tell, trackers, watchdog
from r1rl.run import folder as run_folder
from r1rl.run import guards as guard_table
from r1rl.run.signals import Signals
from r1rl.store import retention

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from r1rl.tasks import Row
    from r1rl.train import callbacks
    from r1rl.train.trainer import ZeroTrainer

logger = logging.getLogger("r1rl.train")  # under a launcher this module is called __main__


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the recipe, build everything, train, save. Returns 0, or 130 after a signal that left a checkpoint.

    Raises:
        RecipeError: the recipe is wrong; nothing was written, but for the list of bad gold answers in the run folder.
    """
    started = since = time.time()
    if "LOCAL_RANK" in os.environ:
        parent.die_with(os.getppid())
    cpu_processes.prepare()
    words = list(sys.argv[1:] if arguments is None else arguments)
    loaded = load_recipe(words)
    configure_logging()
    if is_finished(loaded):
        done = loaded.folder
        logger.info("run %s is finished; remove %s or give another --name to train again", done.name, done.path)
        return exits.SUCCESS
    found = changes.check(loaded)
    budget.check(loaded.folder.path, checks.limits(loaded.recipe))
    source, tokenizer = find_model(loaded)
    check_model(loaded, source, tokenizer)
    from r1rl.train import callbacks, guards

    signals = Signals()
    ending: dict[str, Any] = {"run": loaded.folder.name, "event": "end", "outcome": "finished"}
    with (
        signals.handled(),
        opened(loaded, found) as (folder, held),
        tell.of_end(loaded.recipe.on_end if loaded.grpo.process_index == 0 else None, ending),
        disk.named(folder.path),
        watched(loaded, folder) as heartbeat,
    ):
        while True:
            trainer, interrupt = build_trainer(loaded, folder, source, tokenizer, signals)
            trainer.beat = heartbeat.beat
            meter = budget.Meter(folder.path, loaded.world_size, since=since)
            spending = callbacks.SpendBudget(trainer, meter, checks.limits(loaded.recipe))
            trainer.add_callback(spending)
            trainer.add_callback(callbacks.Beat(heartbeat, held))
            heartbeat.ready()
            try:
                train(trainer, loaded)
                break
            except guards.RollBack as reason:
                logger.warning("%s", reason)
                # A roll-back is a resume: nothing of this trainer goes on.
                trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
                trainer.accelerator.free_memory()
                del trainer, interrupt
                gc.collect()
                loaded = load_recipe([*words, "--name", folder.name, "--resume", "true"])
                since = time.time()
        heartbeat.beat("saving")
        stopped = interrupt.stopped or bool(spending.reached)
        save(trainer, loaded, started=started, interrupted=stopped)
        outcome = "budget" if spending.reached else "interrupted" if stopped else "finished"
        ending |= {"outcome": outcome, "step": trainer.state.global_step}
    return exits.INTERRUPTED if interrupt.stopped else exits.SUCCESS


def load_recipe(arguments: Sequence[str]) -> LoadedRecipe:
    """The recipe named by `--config`, checked against the processes that were really started."""
    path, overrides = recipe.split_arguments(arguments)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    expected = int(os.environ.get(launchers.EXPECTED_WORLD_SIZE, world_size))
    if world_size != expected:
        raise RecipeError(
            f"{expected} processes were asked for and {world_size} started: this launcher config does not do what it "
            "says (MULTI_CPU and use_cpu with several processes start one); take recipes/accelerate/cpu_ddp2.yaml"
        )
    return recipe.load(path, overrides)


def configure_logging() -> None:
    """Messages of r1rl from the first process, warnings from every other library."""
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl)\.")
    logging.getLogger("r1rl").setLevel(logging.INFO if first else logging.ERROR)


def is_finished(loaded: LoadedRecipe) -> bool:
    """Whether the run to be resumed has already made all its steps."""
    result = loaded.folder.result
    made = whole_files.read_json(result) if loaded.recipe.resume else None
    return bool(made and made.get("finished")) and made["steps"] >= loaded.grpo.max_steps  # type: ignore[index]


def find_model(loaded: LoadedRecipe) -> tuple[str, PreTrainedTokenizerBase]:
    """Where the weights are, built or converted first where they must be, and the tokenizer.

    Raises:
        RecipeError: no such model.
    """
    from transformers import AutoTokenizer

    from r1rl.models import fit
    from r1rl.models import resolve as models

    model = loaded.model
    source = models.resolve(str(model.model_name_or_path))
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source, revision=model.model_revision, padding_side="left", truncation_side="left"
        )
        config, ends = fit.configuration(source, model.model_revision, own_code=loaded.grpo.trust_remote_code)
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"model_name_or_path={model.model_name_or_path!r}: cannot be loaded: {one_line(error)}"
        ) from error
    loaded.prompt(tokenizer)  # a chat template that is missing is said before there is a run folder
    fit.name_end(tokenizer, config, ends)
    return source, tokenizer


def check_model(loaded: LoadedRecipe, source: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise RecipeError where the model does not serve the recipe, see `recipe.checks.check_model`."""
    from r1rl.models import fit

    config, ends = fit.configuration(source, loaded.model.model_revision, own_code=loaded.grpo.trust_remote_code)
    questions = [row.question for part in loaded.problems for row in part]
    checks.check_model(loaded, tokenizer, config, ends, questions)


@contextmanager
def opened(loaded: LoadedRecipe, changed: changes.Changes) -> Iterator[tuple[run_folder.RunFolder, lock.Lock | None]]:
    """The run folder, locked by the first process, which alone has the lock in hand, and notes a changed recipe."""
    with ExitStack() as stack:
        held: list[lock.Lock] = []

        def take(folder: run_folder.RunFolder) -> None:
            held.append(stack.enter_context(lock.held(folder.path)))
            if changed:
                step = max(map(manifest.step_of, manifest.all_in(folder.checkpoints)), default=0)
                said = {key: list(pair) for key, pair in changed.items()}
                folder.append_event("recipe_changed", step=step, changes=said)

        yield open_folder(loaded, take), held[0] if held else None


def open_folder(
    loaded: LoadedRecipe, take: Callable[[run_folder.RunFolder], None] = lambda folder: None
) -> run_folder.RunFolder:
    """The run folder with the resolved recipe and the environment in it, made by the first process.

    Args:
        take: called with the folder before anything is written into it.
    """
    folder = loaded.folder
    with loaded.grpo.main_process_first(desc="run folder"):
        if loaded.grpo.process_index == 0:
            folder = run_folder.create(folder.name, loaded.recipe.runs_dir, resume=loaded.recipe.resume)
            take(folder)
            loaded.write(folder.recipe)
            whole_files.write_json(folder.environment, run_folder.environment(loaded.world_size))
            heartbeats.clear(folder.path)
            trackers.name_run(folder, loaded.grpo.report_to)
    return folder


@contextmanager
def watched(loaded: LoadedRecipe, folder: run_folder.RunFolder) -> Iterator[heartbeats.Heartbeat]:
    """This process's heartbeat, with a watchdog on those of all; the time-outs are shown."""
    heartbeat = heartbeats.Heartbeat(folder.path, loaded.grpo.process_index, loaded.world_size)
    seconds = watchdog.seconds_for(loaded.recipe.watchdog_seconds, loaded.world_size)
    if loaded.world_size > 1:
        logger.info("time-outs: NCCL or gloo %g s (ddp_timeout), no progress %g s (watchdog_seconds; 0: never)",
                    loaded.grpo.ddp_timeout, seconds)  # fmt: skip
    watching = watchdog.Watchdog(heartbeat, seconds)
    watching.start()
    try:
        yield heartbeat
        heartbeat.beat("done")
    finally:
        watching.stop()


def usable_rows(loaded: LoadedRecipe, folder: run_folder.RunFolder) -> tuple[list[Row], list[Row]]:
    """The training and the held-out problems whose gold answers pass the check, the same in every process.

    Raises:
        RecipeError: too few are left, or `bad_gold` is "stop" and one fails.
    """
    from accelerate.utils import broadcast_object_list

    from r1rl.tasks import gold

    own, first = loaded.recipe, loaded.grpo.process_index == 0
    train_rows, heldout = loaded.problems
    # Only the first process judges: a verdict that depends on the clock may differ elsewhere.
    progress = not loaded.grpo.disable_tqdm
    reasons = gold.check_task(loaded.task, [*train_rows, *heldout], progress=progress) if first else []
    box = [reasons]
    if loaded.world_size > 1:
        broadcast_object_list(box)
    return gold.sort_out(
        train_rows,
        heldout,
        box[0],
        policy=own.bad_gold,
        prompts_per_step=own.prompts_per_step,
        path=folder.path / gold.FILE_NAME,
        write=first,
    )


def build_trainer(
    loaded: LoadedRecipe,
    folder: run_folder.RunFolder,
    source: str,
    tokenizer: PreTrainedTokenizerBase,
    signals: Signals | None = None,
) -> tuple[ZeroTrainer, callbacks.FinishOnInterrupt]:
    """The trainer with its model, data, rewards and callbacks, and the callback that knows of a Ctrl-C."""
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback, ProgressCallback
    from trl import get_peft_config, get_quantization_config

    import rewards
    from r1rl.tasks.dataset import dataset_rows
    from r1rl.train import callbacks, curriculum
    from r1rl.train.guards import WatchGuards
    from r1rl.train.heldout import HeldoutEvaluation
    from r1rl.train.reflection import MeasureReflection, has_spare_core
    from r1rl.train.schedules import FollowSchedules
    from r1rl.train.trainer import ZeroTrainer

    own, grpo, model = loaded.recipe, loaded.grpo, loaded.model
    grpo.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    } | dict(grpo.model_init_kwargs or {})
    prompt = loaded.prompt(tokenizer)
    train_rows, heldout = usable_rows(loaded, folder)
    options = own.reward_options if isinstance(own.reward_options, dict) else {}
    trainer = ZeroTrainer(
        model=source,
        args=grpo,
        reward_funcs=[rewards.get(name, **options.get(name, {})) for name in own.reward_funcs],
        train_dataset=Dataset.from_list(dataset_rows(train_rows, loaded.task, prompt)),
        processing_class=tokenizer,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
        folder=folder,
        prompt=prompt,
        engine=own.engine,
        max_resamples=own.max_resamples if own.dynamic_sampling else 0,
        sampling_dtype=own.sampling_dtype,
        max_logp_gap=own.max_logp_gap,
        kv_cache_gb=own.kv_cache_gb,
        schedules=loaded.schedules,
        advantage_estimator=own.advantage_estimator,
        curriculum=curriculum.following(loaded.task, train_rows, prompt),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    if grpo.process_index == 0 and not grpo.disable_tqdm:
        trainer.add_callback(callbacks.ShowProgress())
    interrupt = callbacks.FinishOnInterrupt(folder, signals)
    evaluated = dataset_rows(heldout, loaded.task, prompt)
    # Evaluations are compared with each other: a temperature that falls in training does not fall there.
    temperature = own.eval_temperature or (grpo.temperature if "temperature" in loaded.schedules else None)
    evaluation = HeldoutEvaluation(evaluated, int(grpo.num_generations_eval), temperature, grpo.seed)
    beside = has_spare_core(trainer.accelerator.device.type, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    trainer.add_callback(MeasureReflection(trainer, beside=beside))
    trainer.add_callback(callbacks.WriteMetrics(folder))
    table = guard_table.chosen(own.guards, own.prompts_per_step)
    watched = guard_table.Guards(table, prompts=own.prompts_per_step, heldout=own.heldout_size)
    trainer.add_callback(WatchGuards(trainer, watched, own.on_alarm))
    trainer.add_callback(FollowSchedules(folder, loaded.schedules))
    trainer.add_callback(callbacks.EvaluateEvery(trainer, evaluation, int(grpo.eval_steps)))
    trainer.add_callback(callbacks.StopWhenNothingEarned(trainer, own.max_wasted_steps))
    trainer.add_callback(interrupt)
    trainer.add_callback(callbacks.KeepRollouts(folder, retention.share(own.keep_rollouts)))
    logger.info(
        "%s: %d prompts x %d rollouts every %d step(s), %d steps, %d process(es), micro-batches of %d; results in %s",
        folder.name,
        own.prompts_per_step,
        grpo.num_generations,
        loaded.generate_every,
        grpo.max_steps,
        loaded.world_size,
        loaded.batch.micro_batch,
        folder.path,
    )
    return trainer, interrupt


def train(trainer: ZeroTrainer, loaded: LoadedRecipe) -> None:
    """Run the training, from the last checkpoint where the run is resumed."""
    from accelerate.utils import broadcast_object_list

    from r1rl.train import checkpoints

    if trainer.accelerator.is_main_process and loaded.grpo.save_strategy != "no":
        disk.need(trainer.folder.path, checkpoints.size(trainer), "a checkpoint")
    box: list[Path | None] = [None]
    if loaded.recipe.resume and trainer.accelerator.is_main_process:
        box[0], faults = manifest.newest_whole(trainer.folder.checkpoints)
        for name, fault in faults.items():
            logger.warning("%s: %s; going on from %s", name, fault, box[0].name if box[0] else "the start")
        if (checkpoint := box[0]) is not None:
            step = manifest.step_of(checkpoint)
            trainer.folder.rewind(step)
            for name, fault in faults.items():
                trainer.folder.append_event("checkpoint_skipped", step=step, checkpoint=name, fault=fault)
            trainer.folder.append_event("resumed", step=step)
        elif trainer.folder.metrics.is_file():  # ended before its first checkpoint
            trainer.folder.rewind(-1)
            trainer.folder.append_event("begun_again", step=0)
    if loaded.world_size > 1:
        broadcast_object_list(box)
    trainer.train(resume_from_checkpoint=str(box[0]) if box[0] else None)


def save(trainer: ZeroTrainer, loaded: LoadedRecipe, *, started: float, interrupted: bool) -> None:
    """The final model, and result.json."""
    from accelerate.utils import gather_object

    folder = trainer.folder
    if not interrupted:
        trainer.save_model(str(folder.checkpoints / "final"))
    peaks = gather_object([machine.peak_memory()])
    if trainer.accelerator.is_main_process:
        before = (loaded.recipe.resume and whole_files.read_json(folder.result)) or {}
        steps = trainer.state.global_step
        result = {
            "steps": steps,
            "wall_seconds": time.time() - started + before.get("wall_seconds", 0.0),
            "finished": not interrupted,
            "world_size": loaded.world_size,
            "seed": loaded.grpo.seed,
            "peak_memory_bytes": peaks,  # of each process, see `r1rl plan --check`
        }
        whole_files.write_json(folder.result, result)
        if interrupted:
            logger.info("stopped after step %d; go on with: --name %s --resume", steps, folder.name)
    # A process that leaves while the first still writes may abort, and take the whole job along.
    trainer.accelerator.wait_for_everyone()
    trainer.end()
