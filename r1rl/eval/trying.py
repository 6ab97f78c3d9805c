"""One question to one policy: its thoughts apart from its answer, and tokens as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from r1rl.eval.local import LocalModel
from r1rl.eval.protocol import Ask, Reply
from r1rl.rollout.sampling import Sampling, row_key
from r1rl.tasks import prompts
from r1rl.verify import extraction


@dataclass(frozen=True)
class Said:
    """A sample in parts: what was thought, what stands behind it, and the answer that grading would read, if any."""

    thoughts: str
    rest: str
    answer: str | None
    finish_reason: str
    n_tokens: int


def samples(model: LocalModel, question: str, count: int, seed: int = 0) -> Iterator[Said]:
    """So many samples of one question, in order."""
    prompt = model.prompt.render(question)
    row = {"prompt": prompt, "prompt_id": question}
    came: dict[int, Reply] = {}
    asks = [Ask(row, 0, sample, row_key(seed, "try", question, sample)) for sample in range(count)]
    model.answer(asks, lambda ask, reply: came.update({ask.sample: reply}), lambda *_: None)
    for sample in range(count):
        yield apart(prompts.opened(prompt), came[sample], model.extraction)


def apart(prefill: str, reply: Reply, policy: str) -> Said:
    """A reply in parts; without tags everything is said and nothing thought."""
    text = prefill + reply.text
    thoughts, closed, rest = text.partition("</think>")
    if not closed and "<think>" not in thoughts:
        thoughts, rest = "", text
    return Said(
        thoughts.replace("<think>", "", 1).strip(),
        rest.strip(),
        extraction.get(policy)(text)[0],
        reply.finish_reason,
        reply.n_tokens or 0,
    )


def stream(model: LocalModel, question: str, write: Callable[[str], None], seed: int = 0) -> None:
    """One sample, written as its text grows. Only what cannot change any more is written: a sign may be many tokens."""
    prompt = model.prompt.render(question)
    ids = model.tokenizer([prompt])["input_ids"]
    sampling = Sampling(model.temperature, model.top_p, max_completion_length=model.length, stop=model.prompt.stop)
    shown = 0

    def grown(token_ids: list[int], *, ended: bool) -> None:
        nonlocal shown
        text = model.engine.text(token_ids)
        sure = len(text) if ended else len(text.rstrip("�"))
        if sure > shown:
            write(text[shown:sure])
            shown = sure

    _with_every_token(model, ids, row_key(seed, "try", question, 0), sampling, grown)


def _with_every_token(model: LocalModel, ids: Any, key: int, sampling: Sampling, grown: Callable[..., None]) -> None:
    """Sample one token after another by the model's own forward pass, and say after each what there is."""
    import torch

    from r1rl.rollout.sampling import draw

    tokens, cache = list(ids[0]), None
    done: list[int] = []
    stops = model.engine.stop_strings(sampling.stop, model.model.config.get_text_config().vocab_size)
    device = next(model.model.parameters()).device
    fed = torch.tensor([tokens], device=device)
    with torch.inference_mode():
        while len(done) < sampling.max_completion_length:
            out = model.model(input_ids=fed, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
            drawn = draw(out.logits[:, -1], torch.tensor([key]), len(done), sampling)
            done.append(int(drawn.tokens[0]))
            if done[-1] in model.engine.eos_token_ids or stops.stops(done):
                break
            grown(done, ended=False)
            fed = drawn.tokens[:, None]
    grown(done, ended=True)
