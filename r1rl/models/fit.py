"""Whether a model serves a recipe: its tokenizer's tags and ends, and its positions. Asked before any weight is loaded.

Each question has one error: without it a run trains on nothing and does not say so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from r1rl.ground.errors import RecipeError
from r1rl.rollout.texts import text_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_MEASURED_PROMPTS = 1000  # the longest by their characters


def configuration(source: str, revision: str | None = None, *, own_code: bool = False) -> tuple[Any, list[int]]:
    """A model's configuration, and the ids that it says end a text: of generation_config.json, else config.json.

    `own_code`: whether to run code that the model brings.
    Raises OSError or ValueError where there is none, or none that transformers knows.
    """
    from transformers import AutoConfig, GenerationConfig

    config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=own_code)
    try:
        stated = GenerationConfig.from_pretrained(source, revision=revision).eos_token_id
    except OSError:  # not every model has one
        stated = None
    if stated is None:
        stated = config.get_text_config().eos_token_id
    return config, [] if stated is None else list(stated) if isinstance(stated, list | tuple) else [stated]


def name_end(tokenizer: PreTrainedTokenizerBase, config: Any, stated: Sequence[int]) -> None:
    """Give a tokenizer that does not say what ends a text the first of the model's own ids.

    TRL takes the tokenizer's word, and padding too where it names no token for it.

    Raises:
        RecipeError: neither of them says it, or the model has no such token.
    """
    size = config.get_text_config().vocab_size
    if tokenizer.eos_token_id is None:
        known = [token for token in stated if 0 <= token < min(size, len(tokenizer))]
        if not known:
            named = (
                f" (it names {', '.join(map(str, stated))}, of {min(size, len(tokenizer))} tokens)" if stated else ""
            )
            raise RecipeError(
                "model_name_or_path: neither the tokenizer (eos_token) nor the model's generation_config.json or "
                f"config.json (eos_token_id){named} says which token ends a text; put eos_token into "
                "tokenizer_config.json"
            )
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(known[0])
        logger.info("the tokenizer names no end of a text, the model does: %r", tokenizer.eos_token)
    if outside := [token for token in (*stated, tokenizer.eos_token_id) if not 0 <= token < size]:
        raise RecipeError(
            f"model_name_or_path: token {outside[0]} is to end a text, but the model's vocabulary (vocab_size of "
            f"config.json) has {size} tokens; correct eos_token_id of generation_config.json, or take the model's own "
            "tokenizer"
        )


def check_tags(tokenizer: PreTrainedTokenizerBase, ends: Iterable[int], readers: Mapping[str, Sequence[str]]) -> None:
    """Every tag that a reward reads can be written: it comes back from its own tokens.

    Args:
        ends: the ids that end a completion, besides the tokenizer's own.
        readers: the tags by the reward that reads them.

    Raises:
        RecipeError: one cannot, so that the reward would never pay.
    """
    silent = tuple(ends)
    for reward, tags in readers.items():
        for tag in tags:
            ids = tokenizer(tag, add_special_tokens=False)["input_ids"]
            back = text_of(tokenizer, ids, silent)
            if tag not in back:
                raise RecipeError(
                    f"reward_funcs: {reward!r} looks for {tag}, which this model can never write: its tokenizer turns "
                    f"it into {back[:40]!r}; add {tag} to the tokenizer as a token that neither ends nor pads a text, "
                    f"or leave {reward!r} out"
                )


def positions(config: Any) -> int | None:
    """How many tokens a text may have, the prompt's included; None where nothing limits it."""
    text = config.get_text_config()
    stated = getattr(text, "max_position_embeddings", None)
    if not isinstance(stated, int) or stated <= 0:
        return None
    ropes = getattr(text, "rope_parameters", None) or {}
    # Stretched rotations: some configurations state the positions before, some those after.
    found = [stated]
    for rope in [ropes, *(each for each in ropes.values() if isinstance(each, dict))]:
        if rope.get("rope_type", "default") != "default" and rope.get("factor"):
            found.append(int(rope["factor"] * (rope.get("original_max_position_embeddings") or stated)))
    return max(found)


def longest_prompt(tokenizer: PreTrainedTokenizerBase, render: Callable[[str], str], questions: Iterable[str]) -> int:
    """Tokens of the longest prompt; only the questions with most characters are rendered and counted."""
    most = sorted(questions, key=len, reverse=True)[:_MEASURED_PROMPTS]
    return max(map(len, tokenizer([render(question) for question in most])["input_ids"]))


def check_positions(limit: int | None, prompt: int, completion: int) -> None:
    """A prompt and a completion of so many tokens fit into the model's positions.

    Raises:
        RecipeError: they do not; it has the three numbers.
    """
    if limit is None or prompt + completion <= limit:
        return
    left = limit - prompt
    instead = f"try max_completion_length={left}" if left > 0 else "shorten the prompts"
    raise RecipeError(
        f"max_completion_length={completion}: with the longest prompt of {prompt} tokens that is {prompt + completion}"
        f", but the model has {limit} positions (max_position_embeddings); {instead}, or take a model that has more"
    )
