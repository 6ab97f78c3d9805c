"""vLLM, one recipe key away: TRL's own code for it runs here, on an engine that answers as vLLM would.

What is replaced is vLLM itself: `LLM` and `SamplingParams` (colocate), the server behind `VLLMClient` (server), and
the transport of weights. Weights arrive only where TRL sends them.
"""

import dataclasses
import importlib.machinery
import importlib.util
import sys
import types

import pytest
import requests
from tiny_training import TINY, build, metric_lines, run
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.generation import vllm_client, vllm_generation

from r1rl.ground import machine
from r1rl.recipe import load as recipe
from r1rl.rollout.engine import Engine
from r1rl.rollout.sampling import Sampling, row_key
from r1rl.run import exits
from r1rl.store import store
from r1rl.train import main as train


@dataclasses.dataclass
class SamplingParams:
    """The fields of vLLM's class that are used here; another one is a TypeError, as it is there."""

    n: int = 1
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_tokens: int = 16
    logprobs: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop_str_in_output: bool = False


class Server:
    """What samples: weights of its own, loaded from the model's folder and changed only by `load`."""

    def __init__(self, folder):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder)
        self.engine = Engine(tokenizer, [self.model.generation_config.eos_token_id])
        self.parameters = dict(self.model.named_parameters())
        self.requests, self.loaded, self.resets = [], 0, 0

    def load(self, named_tensors):
        for name, tensor in named_tensors:
            self.parameters[name].data.copy_(tensor)
            self.loaded += 1

    def complete(self, prompts, params):
        """(prompt, completion) pairs; the token that completes a stop string or is EOS is among the tokens."""
        self.requests.append((len(prompts), params))
        sampling = Sampling(
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            min_p=params.min_p,
            max_completion_length=params.max_tokens,
            stop=tuple(params.stop),
        )
        repeated = [list(prompt) for prompt in prompts for _ in range(params.n)]
        keys = [row_key("server", len(self.requests), i) for i in range(len(repeated))]
        return list(zip(repeated, self.engine.generate(self.model, repeated, keys, sampling), strict=True))


class LLM:
    def __init__(self, server, **options):
        assert options["logprobs_mode"] == "processed_logprobs", "log-probs of the sampling distribution"
        self.server = server
        server.options = options
        inside = types.SimpleNamespace(load_weights=server.load)
        for name in ("model", "model_runner", "driver_worker", "model_executor"):
            inside = types.SimpleNamespace(**{name: inside})
        self.llm_engine = inside

    def reset_prefix_cache(self):
        self.server.resets += 1

    def generate(self, prompts, sampling_params, use_tqdm):
        found = []
        for prompt, done in self.server.complete([prompt["prompt_token_ids"] for prompt in prompts], sampling_params):
            logprobs = [
                {token: types.SimpleNamespace(logprob=logprob, rank=1)}
                for token, logprob in zip(done.token_ids, done.logprobs, strict=True)
            ]
            output = types.SimpleNamespace(token_ids=done.token_ids, logprobs=logprobs)
            found.append(types.SimpleNamespace(prompt_token_ids=prompt, outputs=[output]))
        return found


class Client(vllm_client.VLLMClient):
    def __init__(self, server, base_url, group_port, connection_timeout):
        self.server, self.base_url, self.model = server, base_url, "the model"

    def init_communicator(self, device):
        pass

    def get_server_info(self):
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def update_named_params(self, metadata, named_params):
        assert [name for name, _, _ in metadata] == list(self.server.parameters)
        self.server.load(named_params)

    def reset_prefix_cache(self):
        self.server.resets += 1

    def _post(self, url, *, json):
        assert url.endswith("/v1/completions")
        request = dict(json)
        assert request.pop("model") == "the model"
        assert request.pop("return_token_ids")
        assert request.pop("return_tokens_as_token_ids")
        prompts = request.pop("prompt")
        choices = [
            {
                "prompt_token_ids": prompt,
                "token_ids": done.token_ids,
                "logprobs": {
                    "tokens": [f"token_id:{token}" for token in done.token_ids],
                    "token_logprobs": done.logprobs,
                    "top_logprobs": [None] * len(done.token_ids),
                },
            }
            for prompt, done in self.server.complete(prompts, SamplingParams(**request))
        ]
        return {"choices": choices}


@pytest.fixture
def server(small_base, monkeypatch):
    """vLLM is installed, as far as TRL and the recipe can see."""
    running = Server(small_base)
    module = types.ModuleType("vllm")
    module.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda: True)
    monkeypatch.setattr(vllm_generation, "SamplingParams", SamplingParams, raising=False)
    monkeypatch.setattr(vllm_generation, "LLM", lambda **options: LLM(running, **options), raising=False)
    monkeypatch.setattr(vllm_generation, "VLLMClient", lambda **options: Client(running, **options))
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):  # TRL sets them
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    return running


@pytest.mark.parametrize("mode", ["colocate", "server"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["one round", "dynamic sampling"])
def test_rows_and_metrics_are_those_of_the_embedded_engine(small_run, server, mode, dynamic):
    more = ["--num_generations", "3", "--dynamic_sampling", "true"] if dynamic else []
    more += ["--temperature", "0.8", "--learning_rate", "0.01", "--max_steps", "2"]
    ours = run(small_run, *more, name="embedded")
    theirs = run(small_run, *more, "--use_vllm", "true", "--vllm_mode", mode, name="vllm")
    lines = metric_lines(theirs)
    assert server.requests[0][1].stop, "the template's stop strings reach vLLM"
    assert server.requests[0][1].include_stop_str_in_output
    assert server.resets == 3, "one synchronisation for each state of the weights, whatever is sampled from it"
    assert server.loaded == 3 * len(server.parameters)
    heldout = 2 * 2  # before the first update and after the last, sampled and greedy
    if dynamic:
        assert len(server.requests) == 2 + heldout + sum(line["dynamic/rounds"] for line in lines) > 2 + heldout
    assert [(params.n, params.temperature) for _, params in server.requests[:2]] == [(1, 0.8), (1, 0.0)]
    at_first = [
        [
            row["token_ids"]
            for row in store.read(folder.path, kind="eval", steps=[0]).to_pylist()
            if not row["temperature"]
        ]
        for folder in (theirs, ours)
    ]
    assert at_first[0] == at_first[1] != [], "greedily, held-out problems are answered as by the embedded engine"
    # The correction for vLLM's other numerics has metrics of its own; it is off where both are the same policy.
    # What is measured of reflection depends on what was sampled: a rate of nothing is left out.
    for line, expected in zip(lines, metric_lines(ours), strict=True):
        found, wanted = ({n for n in names if not n.startswith(("sampling/", "aha/"))} for names in (line, expected))
        assert found == wanted
        assert line["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-3)
        assert line["sampling/logp_gap"] < 1e-3, "logged under the policy that sampled"
        assert line["sampling/kl"] < 1e-3
        assert line["sampling/clipped_share"] == 0
    table, expected = (store.read(folder.path, kind="train") for folder in (theirs, ours))
    assert table.schema == expected.schema
    rows = table.to_pylist()
    empty = {name for name in table.column_names if table.column(name).null_count == len(table)}
    assert empty == {name for name in expected.column_names if expected.column(name).null_count == len(expected)}
    assert {row["finish_reason"] for row in rows} <= {"eos", "stop", "length"}
    assert "stop" in {row["finish_reason"] for row in rows}
    for row in rows:
        assert len(row["token_ids"]) == len(row["logprobs"]) == row["n_tokens"] <= row["cap"]
        assert (row["finish_reason"] == "stop") == row["completion"].endswith(("</answer>", "User:"))
        assert row["finish_reason"] != "length" or row["n_tokens"] == row["cap"]
        assert all(logprob <= 0 for logprob in row["logprobs"])


def test_a_log_probability_that_vllm_could_not_compute_counts_as_no_difference(small_run, server, monkeypatch):
    complete = server.complete

    def with_nan(prompts, params):
        done = complete(prompts, params)
        for _, completion in done:
            completion.logprobs[0] = float("nan")
        return done

    monkeypatch.setattr(server, "complete", with_nan)
    folder = run(small_run, "--use_vllm", "true", "--vllm_mode", "colocate", "--max_steps", "2")
    for line in metric_lines(folder):
        assert line["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-3)
        assert line["grad_norm"] is not None
    rows = store.read(folder.path, kind="train").to_pylist()
    assert all(row["logprobs"][0] is None or row["logprobs"][0] != row["logprobs"][0] for row in rows)


@pytest.mark.parametrize(
    ("has_bf16", "words", "expected"),
    [
        pytest.param(True, ["--bf16", "false"], "float32", id="the weights' own"),
        pytest.param(True, ["--bf16", "true"], "bfloat16", id="what the update computes in"),
        pytest.param(True, ["--bf16", "true", "--sampling_dtype", "float32"], "float32", id="what the recipe says"),
        pytest.param(False, ["--bf16", "true"], "float32", id="what a processor without bf16 trains in"),
    ],
)
def test_colocated_vllm_computes_in(small_run, server, monkeypatch, has_bf16, words, expected):
    monkeypatch.setattr(machine, "has_bf16_kernels", lambda: has_bf16)
    build(small_run, "--use_vllm", "true", "--vllm_mode", "colocate", *words)
    assert server.options["dtype"] == expected  # were upstream to name one, `LLM` would get two and raise


@pytest.mark.parametrize("when", ["at the start", "later"])
def test_a_server_that_is_gone_is_said_in_one_line(small_run, server, monkeypatch, capfd, when):
    class Gone(Client):
        def init_communicator(self, device):
            if when == "at the start":
                raise ConnectionError("no server")

        def _post(self, url, *, json):
            raise requests.exceptions.ConnectionError("refused")

    monkeypatch.setattr(vllm_generation, "VLLMClient", lambda **options: Gone(server, **options))
    words = ["--config", str(TINY), *small_run, "--use_vllm", "true", "--vllm_mode", "server", "--eval_steps", "0"]
    assert exits.guarded(lambda: train.main(words)) == exits.FAILURE
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert "error: vllm_mode=server: the vLLM server at http://0.0.0.0:8000 cannot be used: " in said
    assert "--resume" in said


def test_without_vllm_the_recipe_says_what_to_install(small_run, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "vllm" else find_spec(name, *more)
    )
    with pytest.raises(recipe.RecipeError) as error:
        recipe.load(TINY, [*small_run, "--use_vllm", "true"])
    assert str(error.value).startswith("use_vllm=True: vLLM is not installed; try pip install 'r1rl[vllm]'")
    assert "\n" not in str(error.value)


def test_an_unknown_mode_is_refused(small_run, server):
    with pytest.raises(recipe.RecipeError, match="vllm_mode='serve'"):
        recipe.load(TINY, [*small_run, "--use_vllm", "true", "--vllm_mode", "serve"])
