"""An OpenAI-compatible endpoint as a target of an evaluation; `r1rl.ground.endpoints` does the asking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from r1rl.eval.protocol import DEFAULT_LENGTH, INSTRUCTION, Ask, Asking, Reply, instructed
from r1rl.ground import api_keys, endpoints
from r1rl.ground.endpoints import Limits, Line, tokens
from r1rl.ground.errors import RecipeError
from r1rl.ground.requests import NoReplyError
from r1rl.tasks import prompts


@dataclass
class Endpoint:
    """A model behind an address; see `protocol.Answerer`.

    Chats go to /chat/completions, other templates to /completions.
    `line.ledger` has what was spent; `line.stopped` why nothing more was asked.
    """

    line: Line
    prompt: prompts.Prompt
    extraction: str
    temperature: float
    top_p: float
    length: int

    def answer(
        self, asks: list[Ask], finished: Callable[[Ask, Reply], None], failed: Callable[[Ask, str], None]
    ) -> None:
        """Ask for every sample, in order; what fails after all its tries is reported and left out.

        Raises RunFailedError where the endpoint refuses key, model or address, or answers nothing any more.
        """
        self.line.each(asks, self._ask, finished, failed)

    def _ask(self, ask: Ask) -> Reply:
        chat = self.prompt.name == "chat"
        text = str(ask.row["prompt"])
        content: dict[str, Any] = {
            "max_tokens": self.length,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": ask.key & 0x7FFFFFFF,
        }
        content |= {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}
        path = "/chat/completions" if chat else "/completions"
        return self._ended(self.line.send(path, content, lambda reply: _read(reply, chat=chat)))

    def _ended(self, reply: Reply) -> Reply:
        """The reply up to the template's first stop string, as the embedded engine ends it."""
        ends = [reply.text.find(stop) + len(stop) for stop in self.prompt.stop if stop in reply.text]
        if not ends or min(ends) == len(reply.text):
            return reply
        return Reply(reply.text[: min(ends)], "stop", reply.n_tokens)


def _read(reply: Mapping[str, Any], *, chat: bool) -> Reply:
    """The sample in a reply, of which nothing is certain; thoughts that come apart are put in front, in tags."""
    try:
        choice = reply["choices"][0]
        said = choice["message"] if chat else choice
        text = said.get("content") if chat else said.get("text")
        thoughts = (said.get("reasoning_content") or said.get("reasoning")) if chat else None
        finish = choice.get("finish_reason")
    except (LookupError, TypeError, AttributeError):
        raise NoReplyError("HTTP 200, but no completion") from None
    if isinstance(text, list):
        text = "".join(part["text"] for part in text if isinstance(part, dict) and isinstance(part.get("text"), str))
    text = text if isinstance(text, str) else ""
    if isinstance(thoughts, str) and thoughts:
        text = f"<think>{thoughts}</think>{text}" if text or finish != "length" else f"<think>{thoughts}"
    return Reply(text, "length" if finish == "length" else "eos", tokens(reply, "completion_tokens"))


def of_url(url: str, asking: Asking, limits: Limits, spent: float = 0.0) -> Endpoint:
    """The model behind `URL#MODEL`, asked in a chat for a boxed answer unless `asking` names another template.

    Raises:
        RecipeError: no address or no model.
    """
    line = endpoints.line(url, api_keys.OF_MODELS, limits, spent)
    name = asking.prompt_template or "chat"
    if name == "chat":
        if system := asking.prompt_options.get("system"):
            raise RecipeError(f"prompt_options.system={system!r}: an endpoint is asked without one; use --instruction")
        template = prompts.Prompt("chat", stop=tuple(asking.prompt_options.get("stop") or ()))
    else:
        template = prompts.get(name, **asking.prompt_options)
    instruction = asking.instruction
    if instruction is None and name == "chat" and (asking.extraction or "boxed") == "boxed":
        instruction = INSTRUCTION
    return Endpoint(
        line,
        instructed(template, instruction or ""),
        asking.extraction or ("boxed" if name in ("chat", "none") else "answer-tag"),
        asking.temperature,
        asking.top_p,
        asking.max_completion_length or DEFAULT_LENGTH,
    )
