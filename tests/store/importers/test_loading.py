"""Importers, on files as the real tools write them: TRL's and verl's by themselves, verl's also made up in its format.

`files/verl` was written by verl 0.9.1, from PyPI and unchanged, on made-up rollouts: `train` by
`RayPPOTrainer._log_rollout_data` (a `DataProto` of prompts, responses, token-level scores and golds with NumPy arrays,
as Parquet files give them; `global_steps` 1 and 2), `validation` by `_dump_generations` as `_validate` calls it
(`global_steps` 0; `reward_extra_infos_dict` with `reward` and `acc`). The trainer was made by `__new__` with a
tokenizer that has one id a text, and `_init_dump_executor`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1rl import cli
from r1rl.store import store
from r1rl.store.export import export
from r1rl.store.importers import Settings, load, sink

QUESTIONS = [("3 + 4 = ", "7"), ("2 + 2 = ", "4"), ("5 - 1 = ", "4"), ("6 * 2 = ", "12")]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "conversational"])
def trl_output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """TRL's GRPOTrainer run for three steps with log_completions, and what its rewards were called with."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    chars = {chr(code): code - 29 for code in range(32, 127)}
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2, **chars}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=98, pad_token_id=0, eos_token_id=1, bos_token_id=None, **shape))
    seen: list[Any] = []

    def accuracy_reward(
        prompts: list[Any], completions: list[Any], solution: list[str], log_extra: Any = None, **_: Any
    ) -> list[float | None]:
        log_extra("solution", list(solution))
        seen.append(list(zip(map(said, prompts), map(said, completions), solution, strict=True)))
        return [
            None if gold == "12" else float(gold in said(text))
            for text, gold in zip(completions, solution, strict=True)
        ]

    def length_reward(completions: list[Any], **_: Any) -> list[float]:
        return [len(said(text)) / 4 for text in completions]

    folder = tmp_path_factory.mktemp("trl")
    trainer = GRPOTrainer(
        model,
        [accuracy_reward, length_reward],
        args=GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=4,
            num_generations=2,
            gradient_accumulation_steps=1,
            max_completion_length=8,
            max_steps=3,
            logging_steps=1,
            log_completions=True,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": q}] if request.param else q, "solution": a} for q, a in QUESTIONS]
        ),
        processing_class=tokenizer,
    )
    trainer.train()
    return folder, seen


def said(text: Any) -> str:
    return text if isinstance(text, str) else text[0]["content"]


def test_trl_completions(trl_output: tuple[Path, list[Any]], tmp_path: Path) -> None:
    folder, seen = trl_output
    settings = Settings(task="sums", verifier="exact", extraction="last-number", weights={"length_reward": 0.5})
    done = load(folder, tmp_path / "run", settings=settings)
    assert (done.rollouts, done.steps, done.left_out) == (12, 3, ())
    rows = store.read(tmp_path / "run").to_pylist()
    assert [[(r["prompt"], r["completion"], r["gold"]) for r in rows if r["step"] == step] for step in range(3)] == seen
    for row in rows:
        right = row["gold"] in row["completion"]
        paid = None if row["gold"] == "12" else float(right)
        assert row["reward_accuracy_reward"] == paid
        assert row["reward_length_reward"] == pytest.approx(len(row["completion"]) / 4)
        assert row["reward"] == pytest.approx((paid or 0.0) + len(row["completion"]) / 8)
        assert row["verdict"] in ("correct", "wrong", "unparseable")
        assert (row["task"], row["verifier"], row["kind"]) == ("sums", "exact", "train")
        assert row["advantage"] is not None
        assert row["n_tokens"] is row["token_ids"] is row["temperature"] is None
    groups = {r["group_id"] for r in rows}
    assert len(groups) == 6
    for group in groups:
        members = [r for r in rows if r["group_id"] == group]
        assert len({(r["prompt_id"], r["step"]) for r in members}) == 1
        assert [r["sample_idx"] for r in members] == [0, 1]
        assert sum(r["advantage"] for r in members) == pytest.approx(0, abs=1e-5)


def verl_dump(folder: Path, step: int, scores: list[float], extra: dict[str, list[Any]], gts: list[Any]) -> None:
    """A step's file as verl writes it.

    The format of `RayPPOTrainer._dump_generations` (verl/trainer/ppo/ray_trainer.py, read at commit 3d9df733): the
    file is called `{global_steps}.jsonl`; keys in this order, each list of `reward_extra_infos_dict` that has a value
    for every row follows, and one of the same name replaces it; no escapes of non-ASCII text; a line feed at the end.
    Training dumps come from `trainer.rollout_data_dir` with global_steps from 1 on, with `request_id` where rollouts
    are asynchronous, validation from `trainer.validation_data_dir`, before training as 0.
    """
    n = len(scores)
    base_data = {
        "input": [f"user\nWhat is {i // 2} + 1?\nassistant\n" for i in range(n)],
        "output": [f"<think>é</think> It is \\boxed{{{i}}}" for i in range(n)],
        "gts": gts,
        "score": scores,
        "step": [step] * n,
        **{key: values for key, values in extra.items() if len(values) == n},
    }
    lines = [json.dumps({key: values[i] for key, values in base_data.items()}, ensure_ascii=False) for i in range(n)]
    folder.mkdir(exist_ok=True)
    (folder / f"{step}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_verl_dumps(tmp_path: Path) -> None:
    gold = ["1", "1", "2", "2"]
    for step in (1, 2, 10):
        extra = {"acc": [False, True, True, False], "pred": list("abcd"), "request_id": ["r"] * 4, "uneven": [1]}
        verl_dump(tmp_path / "dump", step, [-1.0, 1.0, 1.0, float("nan")], extra, gold)
    done = load(tmp_path / "dump", tmp_path / "run")
    assert (done.rollouts, done.steps, done.left_out) == (12, 3, ("pred", "request_id"))
    rows = store.read(tmp_path / "run").to_pylist()
    assert [r["step"] for r in rows] == [0] * 4 + [1] * 4 + [9] * 4, "in order of numbers, and as updates made before"
    assert [r["verdict"] for r in rows[:4]] == ["wrong", "correct", "correct", "wrong"]
    assert [r["reward"] for r in rows[:4]] == [-1.0, 1.0, 1.0, None]
    assert [r["reward_acc"] for r in rows[:4]] == [0.0, 1.0, 1.0, 0.0]
    assert [r["sample_idx"] for r in rows[:4]] == [0, 1, 0, 1]
    assert rows[0]["prompt"] == "user\nWhat is 0 + 1?\nassistant\n"
    assert rows[0]["completion"] == "<think>é</think> It is \\boxed{0}"

    load(tmp_path / "dump" / "10.jsonl", tmp_path / "validation", settings=Settings(kind="eval"))
    assert set(store.read(tmp_path / "validation").column("step").to_pylist()) == {10}


def test_verl_steps_of_file_names(tmp_path: Path) -> None:
    """As where `step` was not dumped, or was lost on the way."""
    verl_dump(tmp_path / "dump", 120, [1.0], {}, ["1"])
    path = tmp_path / "dump" / "120.jsonl"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "step"}))
    assert load(path, tmp_path / "run").format == "verl"
    assert store.read(tmp_path / "run").column("step").to_pylist() == [119]


def test_files_of_verl_itself(tmp_path: Path) -> None:
    dumps = Path(__file__).parent / "files" / "verl"
    how = Settings(task="countdown", verifier="countdown")
    done = load(dumps / "train", tmp_path / "run", settings=how)
    assert (done.rollouts, done.steps, done.left_out) == (8, 2, ("pred", "request_id"))
    rows = store.read(tmp_path / "run").to_pylist()
    assert [r["step"] for r in rows] == [0] * 4 + [1] * 4
    assert [r["gold"] for r in rows[:4]] == ["22", "22", "4", "4"]
    assert json.loads(rows[0]["meta"]) == {"numbers": [3, 5, 7]}, "verl wrote the array as text"
    assert [r["verdict"] for r in rows[:4]] == ["correct", "wrong", "bad_gold", "bad_gold"]
    assert [r["reward"] for r in rows[:4]] == pytest.approx([1.0, 0.1, 1.0, 0.0])
    assert [r["sample_idx"] for r in rows[:4]] == [0, 1, 0, 1]
    assert rows[2]["completion"] == "Two and two — é — is \\boxed{4}."

    load(dumps / "validation", tmp_path / "validation", settings=Settings(kind="eval"))
    table = store.read(tmp_path / "validation")
    assert "reward_reward" not in table.column_names, "the score, which is there already"
    assert [r["verdict"] for r in table.to_pylist()] == ["correct", "wrong", "correct", "wrong"]
    assert table.column("reward").to_pylist() == pytest.approx([1.0, 0.1, 1.0, 0.0])


def test_verl_judged_again_and_tinyzero_gold(tmp_path: Path) -> None:
    gts = [{"target": 22, "numbers": [3, 5, 7]}] * 2
    verl_dump(tmp_path / "dump", 1, [0.0, 0.0], {}, gts)
    text = (tmp_path / "dump" / "1.jsonl").read_text()
    (tmp_path / "dump" / "1.jsonl").write_text(text.replace("\\\\boxed{1}", "<answer>3 * 5 + 7</answer>"))
    load(tmp_path / "dump", tmp_path / "run", settings=Settings(verifier="countdown", task="countdown"))
    rows = store.read(tmp_path / "run", columns=["gold", "meta", "verdict", "verdict_reason"]).to_pylist()
    assert [r["gold"] for r in rows] == ["22", "22"]
    assert json.loads(rows[0]["meta"]) == {"numbers": [3, 5, 7]}
    assert [r["verdict"] for r in rows] == ["unparseable", "correct"]
    assert "<answer>" in rows[0]["verdict_reason"]


def test_plain_lines_with_other_names(tmp_path: Path) -> None:
    source = tmp_path / "mine.jsonl"
    made = [
        {"text": "a", "q": "1?", "label": 1.0, "correct": True, "global": 4, "n_tokens": 3.0, "finish_reason": "eos"},
        {"text": "b", "q": [{"role": "system", "content": "s"}, {"role": "user", "content": "2?"}], "style": 0.5},
    ]
    source.write_text("\n\n".join(map(json.dumps, made)))
    arguments = ["import", str(source), "--to", str(tmp_path / "run")]
    for pair in ("completion=text", "prompt=q", "gold=label", "step=global"):
        arguments += ["--column", pair]
    assert cli.main(arguments) == 0
    second, first = store.read(tmp_path / "run").to_pylist()
    assert (first["step"], first["prompt"], first["completion"], first["gold"]) == (4, "1?", "a", "1")
    assert (first["verdict"], first["n_tokens"], first["finish_reason"]) == ("correct", 3, "eos")
    assert (second["step"], second["prompt"], second["gold"]) == (0, "system: s\nuser: 2?", "")
    assert (second["verdict"], second["reward_style"]) == (None, 0.5)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_what_was_exported_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    """Kinds, steps, temperatures and groups are kept, and reflection is measured in what comes back."""
    source = tmp_path / "a.jsonl"
    rows = [
        {
            "completion": "1 + 1 = 3. Wait, that is wrong. <answer>2</answer>", "prompt": f"p{i % 2}", "step": i // 6,
            "kind": "train" if i % 6 < 2 else "eval", "temperature": 0.0 if i % 6 == 5 else 1.0, "reward": i / 2,
            "verdict": "correct", "verdict_reason": None, "finish_reason": "eos", "n_tokens": 9, "task": "countdown",
            "gold": "2", "meta": '{"numbers": [1, 1]}', "verifier": "countdown", "cap": 40, "top_p": 1.0,
        }
        for i in range(12)
    ]  # fmt: skip
    source.write_text("\n".join(map(json.dumps, rows)))
    load(source, tmp_path / "run")
    export(tmp_path / "run", tmp_path / f"b{suffix}")
    load(tmp_path / f"b{suffix}", tmp_path / "again")
    first, second = (store.read(tmp_path / name).drop_columns(["run"]) for name in ("run", "again"))
    assert first.to_pylist() == second.to_pylist()
    kinds = second.column("kind").to_pylist()
    assert (kinds.count("train"), kinds.count("eval")) == (4, 8)
    found = []
    for name in ("run", "again"):
        capsys.readouterr()
        assert cli.main(["aha", str(tmp_path / name), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out) | {"runs": []})
    assert found[0] == found[1]
    assert (found[0]["steps"], found[0]["rollouts_per_step"]) == ([0, 1], 3)


def test_few_rows_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "BUFFERED_ROWS", 10)
    steps = [i // 7 for i in range(70)] + [0, 3]  # and two stragglers
    source = tmp_path / "a.jsonl"
    source.write_text("\n".join(json.dumps({"completion": str(i), "step": s}) for i, s in enumerate(steps)))
    done = load(source, tmp_path / "run")
    assert (done.rollouts, done.steps) == (72, 10)
    found = store.read(tmp_path / "run", columns=["step", "completion"]).to_pylist()
    assert sorted(int(r["completion"]) for r in found) == list(range(72))
    assert all(r["step"] == steps[int(r["completion"])] for r in found)
    assert [s.rank for s in store.shards(tmp_path / "run") if s.step in (1, 3)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        pytest.param('{"completion": "a"}\n{"comp', [], "a.jsonl, line 2: not JSON", id="torn line"),
        pytest.param("[1]\n", [], "need a JSON object", id="no object"),
        pytest.param("[" * 100_000, [], "not JSON", id="deeply nested"),
        pytest.param('{"answer": "a"}\n', [], "--column completion=text", id="no completion"),
        pytest.param('{"completion": "a", "step": "x"}\n', [], "step='x': need a whole number", id="no step"),
        pytest.param('{"completion": "a", "step": -1}\n', [], "need at least 0", id="negative step"),
        pytest.param('{"completion": "a", "kind": "x"}\n', [], "kind='x'", id="kind"),
        pytest.param('{"completion": "a", "finish_reason": "x"}\n', [], "finish_reason='x'", id="finish reason"),
        pytest.param('{"completion": "a"}\n', ["--column", "colour=a"], "column=colour: need one of", id="column"),
        pytest.param('{"completion": "a"}\n', ["--column", "gold"], "need NAME=VALUE", id="pair"),
        pytest.param('{"completion": "a"}\n', ["--weight", "a=b"], "expected a number", id="weight"),
        pytest.param('{"completion": "a"}\n', ["--verifier", "oracle"], "verifier='oracle'", id="verifier"),
        pytest.param('{"completion": "a"}\n', ["--verifier", "exact", "--extraction", "eyes"], "eyes", id="extraction"),
    ],
)
def test_what_does_not_fit_is_said_and_no_run_appears(
    tmp_path: Path, content: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    try:
        code: Any = cli.main(["import", str(tmp_path / "a.jsonl"), "--to", str(tmp_path / "run"), *arguments])
    except SystemExit as stop:  # argparse's own
        code = stop.code
    assert code == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_sources_and_targets(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        load(tmp_path / "nowhere", tmp_path / "run")
    with pytest.raises(ValueError, match=r"no .parquet, .jsonl, .eval or .json file"):
        load(tmp_path, tmp_path / "run")
    (tmp_path / "a.jsonl").write_text('{"completion": "a"}\n')
    (tmp_path / "b.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(ValueError, match="name one file"):
        load(tmp_path, tmp_path / "run")
    with pytest.raises(ValueError, match="not a whole Parquet file"):
        load(tmp_path / "b.parquet", tmp_path / "run")
    assert load(tmp_path / "a.jsonl", tmp_path / "run").rollouts == 1, "what the failed one left is in nobody's way"
    with pytest.raises(ValueError, match="exists; give another"):
        load(tmp_path / "a.jsonl", tmp_path / "run")
    assert not list(tmp_path.glob(".*"))
