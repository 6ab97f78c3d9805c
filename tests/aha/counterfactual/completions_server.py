"""A completions endpoint with log-probabilities and `echo` over a model in memory, as vLLM's is.

Plays for `tests.aha.judge.played_endpoint`. To try things by hand,
`python -m tests.aha.counterfactual.completions_server MODEL` serves a folder, and says where.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import torch

from tests.aha.judge.played_endpoint import Asked, Play, Sent, error, playing


def serving(model: Any, tokenizer: Any) -> Play:
    """The answers of this model, one at a time."""
    lock = threading.Lock()

    @torch.no_grad()
    def play(asked: Asked, _: int) -> Sent:
        if not asked.path.endswith("/completions"):
            return error(404, "no such path")
        body = asked.chat
        with lock:
            return Sent(json.dumps(_answer(model, tokenizer, body)).encode())

    return play


def _answer(model: Any, tokenizer: Any, body: dict[str, Any]) -> dict[str, Any]:
    ids = list(tokenizer(body["prompt"])["input_ids"])
    given = len(ids)
    generator = torch.Generator().manual_seed(int(body.get("seed") or 0))
    logs = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    told: list[float | None] = [None, *logs[:-1].gather(1, torch.tensor(ids[1:])[:, None]).flatten().tolist()]
    likeliest: list[dict[str, float] | None] = []
    past, finish = logs[-1], "length"
    for _ in range(int(body["max_tokens"])):
        shares = (past / body["temperature"]).softmax(-1) if body["temperature"] else past.softmax(-1)
        token = (
            int(shares.argmax()) if not body["temperature"] else int(torch.multinomial(shares, 1, generator=generator))
        )
        best = past.topk(min(int(body.get("logprobs") or 1), len(past)))
        # Tokens that read the same are one to whoever sees their text.
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        likeliest.append({tokenizer.convert_ids_to_tokens(i): value for i, value in pairs})
        told.append(float(past[token]))
        ids.append(token)
        if token == tokenizer.eos_token_id:
            finish = "stop"
            break
        if len(ids) - given < int(body["max_tokens"]):
            past = model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
    begun = tokenizer.decode(ids[:given])
    text = tokenizer.decode([token for token in ids if token != tokenizer.eos_token_id])[len(begun) :]
    choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
    if body.get("logprobs") is not None:
        choice["logprobs"] = {"token_logprobs": told if body.get("echo") else told[given:], "top_logprobs": likeliest}
    if body.get("echo"):
        choice["text"] = begun + text
    usage = {"prompt_tokens": given, "completion_tokens": len(ids) - given}
    return {"object": "text_completion", "choices": [choice], "usage": usage}


if __name__ == "__main__":
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    loaded = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="float32").eval()
    with playing(serving(loaded, AutoTokenizer.from_pretrained(sys.argv[1]))) as server:
        sys.stdout.write(f"{server.url}#{sys.argv[1]}\n")
        sys.stdout.flush()
        threading.Event().wait()
