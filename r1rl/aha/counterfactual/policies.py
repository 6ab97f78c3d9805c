"""Who goes on from a run's rollouts: the policy that wrote them, another model, or one behind an address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from r1rl.aha.counterfactual.checkpoints import Policy, kept, load, opened
from r1rl.aha.counterfactual.settings import Settings
from r1rl.aha.counterfactual.tokens import Cuts, TextCuts, TokenCuts
from r1rl.aha.counterfactual.writers import Writer
from r1rl.ground.endpoints import Limits
from r1rl.ground.values import read_yaml
from r1rl.run.folder import RunFolder

Row = Mapping[str, Any]


def remote(model: str | None) -> bool:
    """Whether a model is behind an address."""
    return model is not None and model.startswith(("http://", "https://"))


def check(model: str | None) -> None:
    """Raise ValueError where there is no such model, before anything is loaded."""
    from r1rl.models import resolve

    if model is None:
        return
    if not remote(model):
        resolve.check(model)
    elif not model.partition("#")[2]:
        raise ValueError(f"model={model!r}: say which model, as {model}#MODEL")


def identity(model: str | None) -> str:
    """What changes when a folder's weights do."""
    if model is None or remote(model) or not Path(model).is_dir():
        return ""
    files = sorted([*Path(model).glob("*.safetensors"), *Path(model).glob("*.json")])
    return str([(file.name, (status := file.stat()).st_size, status.st_mtime_ns) for file in files])


def extraction_of(run_dir: Path, rows: Sequence[Row]) -> str:
    """Where the answers of a run's rollouts stand: as its recipe says, else what most of them hold."""
    recipe = RunFolder(run_dir).recipe
    if recipe.is_file():
        options = (read_yaml(recipe, "recipe").get("reward_options") or {}).get("accuracy") or {}
        return str(options.get("extraction", "answer-tag"))
    tags = sum("</answer>" in (row["completion"] or "") for row in rows)
    boxes = sum("\\boxed" in (row["completion"] or "") for row in rows)
    return "last-number" if not tags + boxes else "answer-tag" if tags >= boxes else "boxed"


def tokens_of(model: str | None) -> tuple[Cuts | None, int | None]:
    """The tokens of another model than the run's own, and how many of them it can read and write together.

    None: the rollouts' own ids; not known.
    """
    if model is None:
        return None, None
    if remote(model):
        return TextCuts(), None
    from transformers import AutoConfig, AutoTokenizer

    from r1rl.models import fit

    source, revision = _named(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
        config = AutoConfig.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        raise ValueError(f"model={model!r}: cannot be loaded: {' '.join(str(error).split())[:200]}") from None
    return TokenCuts(tokenizer), fit.positions(config)


def writer(run_dir: Path, step: int, settings: Settings, rows: Sequence[Row], limits: Limits) -> Writer:
    """Loads or addresses it. `settings.extraction` is known by now."""
    from r1rl.aha.counterfactual.local import Local
    from r1rl.aha.counterfactual.remote import Remote
    from r1rl.ground import api_keys, endpoints
    from r1rl.rollout.sampling import Sampling
    from r1rl.tasks import prompts

    extraction = settings.extraction or "answer-tag"
    if settings.model is None:
        policy = load(run_dir, kept(run_dir)[step])
        sampling = policy.sampling
        if settings.temperature is not None:
            sampling = replace(sampling, temperature=settings.temperature)
        if settings.top_p is not None:
            sampling = replace(sampling, top_p=settings.top_p)
        return Local(replace(policy, sampling=sampling, extraction=extraction))
    sampling = Sampling(
        temperature=_usual(rows, "temperature") if settings.temperature is None else settings.temperature,
        top_p=_usual(rows, "top_p") if settings.top_p is None else settings.top_p,
        stop=("</answer>",) if extraction in ("answer-tag", "boxed-in-answer") else (),
    )
    if remote(settings.model):
        return Remote(endpoints.line(settings.model, api_keys.OF_MODELS, limits), sampling, extraction)
    model, tokenizer, engine = opened(*_named(settings.model))
    return Local(Policy(model, tokenizer, engine, sampling, extraction, prompts.get("none")))


def _usual(rows: Sequence[Row], name: str) -> float:
    """The value that most rollouts have; 1 where none tells."""
    told = Counter(row[name] for row in rows if row[name] is not None)
    return float(told.most_common(1)[0][0]) if told else 1.0


def _named(model: str) -> tuple[str, str]:
    from r1rl.models import resolve

    source, _, revision = (model, "", "") if Path(model).exists() else model.partition("@")
    return resolve.resolve(source), revision or "main"
