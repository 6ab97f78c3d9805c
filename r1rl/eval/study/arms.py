"""A study's file: a recipe, arms that change it, seeds, and the figures that decide.

    recipe: tiny/countdown            # a file beside the study, or one that ships
    settings: {eval_steps: 10}        # recipe keys of all arms
    seeds: 5                          # 0 to 4; or a list
    arms:
      paid: {}                        # recipe keys that the arm changes
      coin: {reward_funcs: [random, format]}
      few: {base: {corpus.retries: 0.01}}   # trained from a tiny base built for it
    reference: paid                   # what the others are compared with; default: the first arm
    questions: [accuracy, retried]    # figures of `r1rl aha`

`base` is no recipe key: it holds options of `r1rl base build`, on top of those that stand in `base` of the study.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, get_type_hints

from r1rl.aha.figures.figures import FIGURES
from r1rl.ground import shipped
from r1rl.ground.errors import RecipeError, check_known, nearest
from r1rl.ground.values import coerce, read_yaml
from r1rl.models import base
from r1rl.models.base.pretrain import PretrainConfig
from r1rl.recipe import changes
from r1rl.recipe import load as recipes
from r1rl.run import folder as run_folder

QUESTIONS: Final = ("accuracy", "first_accuracy", "retried", "retry_after_miss", "wrong_to_right", "retry_lift")
"""What the conclusion of `r1rl aha` rests on."""

_OWN: Final = ("seed", "name", "runs_dir", "resume", "resume_changed")
"""Recipe keys that are the study's to say."""

BASE: Final = "countdown"
MOST_SEEDS: Final = 1000


@dataclass(frozen=True)
class _File:
    """The keys of a study's file, with their types."""

    recipe: str
    arms: dict[str, Any]
    seeds: int | list[int] = 3
    settings: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None
    questions: list[str] = field(default_factory=lambda: list(QUESTIONS))
    base: dict[str, Any] = field(default_factory=dict)
    dose: str | None = None
    minutes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """One way to change the recipe.

    Args:
        settings: recipe keys, those of all arms included.
        base: options of the tiny base that it is trained from; None: the model that the recipe names.
        built: the folder of that base; None as `base`.
        steps: optimizer steps of a run.
    """

    name: str
    settings: Mapping[str, Any]
    base: Mapping[str, Any] | None = None
    built: Path | None = None
    steps: int = 1


@dataclass(frozen=True)
class Study:
    """A study's file, read and checked.

    Args:
        source: the file.
        out: where its runs, bases, logs and report are.
        recipe: the recipe's file.
        reference: the arm that the others are compared with.
        questions: the figures that are shown, keys of `FIGURES`.
        dose: an option of a base that is drawn as an axis, or None.
        minutes: what one `run` or one `base` took where the file was written, until this study knows its own.
    """

    source: Path
    out: Path
    recipe: Path
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    reference: str
    questions: tuple[str, ...] = QUESTIONS
    dose: str | None = None
    minutes: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's stem."""
        return self.source.stem

    @property
    def runs_dir(self) -> Path:
        """Where its runs are."""
        return self.out / "runs"

    def folder(self, arm: Arm, seed: int) -> run_folder.RunFolder:
        """The folder of one run."""
        return run_folder.RunFolder(self.runs_dir / f"{arm.name}-seed{seed}")

    def words(self, arm: Arm, seed: int) -> list[str]:
        """The recipe's overrides of one run, its name and place included; it goes on where it has begun."""
        folder = self.folder(arm, seed)
        settings = {**arm.settings, "seed": seed}
        if arm.built is not None:
            settings["model_name_or_path"] = str(arm.built)
        words = [f"--{key}={_text(value)}" for key, value in settings.items()]
        words += ["--runs_dir", str(self.runs_dir), "--name", folder.name]
        return [*words, "--resume", "true"] if folder.recipe.is_file() else words

    def checkable(self, arm: Arm) -> list[str]:
        """The words of the first seed, with the base that ships in place of one that is not built yet.

        Both have the same tokenizer and positions.
        """
        words = self.words(arm, self.seeds[0])
        there = arm.built is None or (arm.built / base.MANIFEST).is_file()
        return words if there else [*words, f"--model_name_or_path=base:{BASE}"]

    def cells(self) -> Iterator[tuple[Arm, int]]:
        """Every arm with every seed; seeds outermost, so that what is done first is even over the arms."""
        return ((arm, seed) for seed in self.seeds for arm in self.arms)


def load(path: Path, out: Path | None = None) -> Study:
    """Read and check a study and every recipe in it.

    Args:
        out: its folder; default: `studies/` and the file's stem, here.

    Raises:
        RecipeError: a wrong key, name or value of the study, of an arm's recipe, or of a base.
    """
    content = read_yaml(path, "study")
    hints = get_type_hints(_File)
    check_known(content, hints, f" in {path}")
    for item in fields(_File):
        if item.default is item.default_factory is MISSING and not content.get(item.name):
            raise RecipeError(f"study {path}: {item.name} is missing")
    made = _File(**{key: coerce(key, value, hints[key]) for key, value in content.items()})
    place = (out or Path("studies") / path.stem).absolute()
    count = made.seeds if isinstance(made.seeds, int) else len(made.seeds)
    if not 1 <= count <= MOST_SEEDS:
        raise RecipeError(f"seeds={made.seeds!r}: need at least one seed, and at most {MOST_SEEDS}")
    seeds = tuple(range(made.seeds)) if isinstance(made.seeds, int) else tuple(made.seeds)
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        raise RecipeError(f"seeds={made.seeds!r}: need seeds from 0 to {2**32 - 1}, each once")
    arms = tuple(_arms(made, place))
    known = [arm.name for arm in arms]
    reference = known[0] if made.reference is None else made.reference
    if reference not in known:
        raise RecipeError(f"reference={reference!r}: no such arm{nearest(reference, known)}")
    for key in made.questions:
        if key not in FIGURES:
            raise RecipeError(f"questions={key!r}: no figure of r1rl aha{nearest(key, FIGURES)}")
    if not made.questions or len(set(made.questions)) < len(made.questions):
        raise RecipeError(f"questions={made.questions!r}: need at least one figure, each once")
    if made.dose is not None:
        check_known([made.dose], base.OPTIONS, " of a base (dose)")
    check_known(made.minutes, ("run", "base"), " in minutes")
    own = path.parent / made.recipe
    recipe = own if own.is_file() else shipped.recipe(made.recipe)
    study = Study(path, place, recipe, arms, seeds, reference, tuple(made.questions), made.dose, made.minutes)
    return replace(study, arms=tuple(replace(arm, steps=_check(study, arm)) for arm in arms))


def _arms(made: _File, out: Path) -> Iterator[Arm]:
    """The arms of a file. Two that ask for the same base share one folder, named by the first."""
    folders: list[tuple[PretrainConfig, Path]] = []
    lower: dict[str, str] = {}
    for name, given in made.arms.items():
        where = f"arms.{name}"
        if not isinstance(name, str):
            raise RecipeError(f"{where}: the name is no text to YAML; put it in quotes, or give another")
        run_folder.check_name(name, out / "runs", resume=True)
        if name.lower() in lower:
            raise RecipeError(f"{where}: {lower[name.lower()]!r} is the same name on some file systems; give another")
        lower[name.lower()] = name
        settings = coerce(where, {} if given is None else given, dict[str, Any])
        options = settings.pop("base", None)
        settings = {**made.settings, **settings}
        for key in _OWN:
            if key in settings:
                raise RecipeError(f"{where}.{key}: the study says it itself; leave it out")
        if options is None:
            yield Arm(name, settings)
            continue
        options = made.base | coerce(f"{where}.base", options, dict[str, Any])
        if "model_name_or_path" in settings:
            raise RecipeError(f"{where}: base and model_name_or_path both say the model; give one")
        config = _named(where, lambda options=options: base.configured(BASE, options))
        folder = next((place for built, place in folders if built == config), None)
        if folder is None:
            folders.append((config, folder := out / "bases" / name))
        options = base.options_of(BASE, config)
        yield Arm(name, settings, options, folder)


def _check(study: Study, arm: Arm) -> int:
    """The arm's recipe is sound, and what has been trained of it is of this recipe; returns its optimizer steps."""
    if "base" in arm.settings:
        raise RecipeError("settings.base: not here; base of the study holds options of all bases")
    loaded = _named(f"arm {arm.name}", lambda: _load(study, arm))
    for seed in study.seeds:
        # The seeds of an arm differ in nothing else, so they need not be loaded apart.
        loaded.recipe.name, loaded.recipe.resume = study.folder(arm, seed).name, True
        loaded.grpo.seed = loaded.stated["seed"] = seed
        _named(f"arm {arm.name}, seed {seed}", lambda: changes.check(loaded))
    return max(1, loaded.grpo.max_steps)  # counted in epochs, a run is one step of the progress bar


def _load(study: Study, arm: Arm) -> recipes.LoadedRecipe:
    loaded = recipes.load(study.recipe, study.checkable(arm), world_size=1, check_only=True)
    if arm.built is not None:
        loaded.stated["model_name_or_path"] = str(arm.built)
    return loaded


def _named(where: str, call: Any) -> Any:
    """What a call returns; its RecipeError says where."""
    try:
        return call()
    except RecipeError as error:
        raise type(error)(f"{where}: {error}") from error


def _text(value: Any) -> str:
    """A value as a recipe's override takes it."""
    return value if isinstance(value, str) else json.dumps(value)
