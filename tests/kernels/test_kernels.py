"""The compiled functions against torch's, on sizes and values at the edges; and what happens without a compiler."""

import ctypes
import logging
import math
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from r1rl import kernels
from r1rl.rollout.cache import GroupCache, PrefillCache, attend

SHAPES = {  # elements of a head, query heads of a key head
    "SmolLM2's: three query heads a key head": (64, 3),
    "the tiny base's: as many key heads": (32, 1),
    "a vector a head": (16, 2),
    "half a vector a head": (8, 3),
    "a large head": (128, 7),
}
BUILDS = "import torch; from r1rl import kernels; print(kernels.functions_for(32, 2, torch.float32) is not None)"
NEAR = {torch.float32: 2e-6, torch.bfloat16: 2**-8}


def built(head, repeats, dtype, *sizes):
    functions = kernels.functions_for(head, repeats, dtype, *sizes)
    if functions is None:
        pytest.skip("no C compiler here")
    return functions


def pointer(tensor):
    return tensor.data_ptr()


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("window", [None, 1, 5, 70], ids=lambda window: f"window {window}")
@pytest.mark.parametrize("shape", SHAPES)
def test_attention_is_torchs(shape, window, dtype):
    head, repeats = SHAPES[shape]
    functions = built(head, repeats, dtype)
    torch.manual_seed(0)
    kv_heads, prompt_lengths, own = 2, [1, 66, 9], torch.tensor([0, 3, 64, 63, 130])
    rows, heads = len(own), kv_heads * repeats
    cache = GroupCache(1, 131, torch.device("cpu"))
    prefilled = PrefillCache(1)
    prefilled.layers[0].update(*torch.randn(2, 3, kv_heads, max(prompt_lengths), head))
    cache.add_prompts(torch.zeros(0, dtype=torch.long), prefilled, prompt_lengths)
    cache.set_rows(torch.tensor([0, 1, 1, 2, 1]), own)
    cache.begin_step()
    (stored,) = cache.layers
    before = torch.randn(2, rows, kv_heads, 131, head)
    stored.keys, stored.values = before[0].clone(), before[1].clone()
    stored.is_initialized = True
    qkv = torch.randn(rows, heads + 2 * kv_heads, head).to(dtype)
    cosines, sines = torch.randn(2, 200, head)
    positions = cache.prompt_lengths[cache.prompt_of] + own
    norms = torch.rand(2, head) + 0.5

    turned = functional.rms_norm(qkv[:, : heads + kv_heads].float(), (head,), None, 1e-6)
    turned = turned * torch.cat([norms[0].expand(heads, -1), norms[1].expand(kv_heads, -1)])
    turned = turned * cosines[positions, None] + turned.roll(head // 2, -1) * sines[positions, None]
    stored.update(turned[:, heads:, None], qkv[:, heads + kv_heads :, None].float())
    expected = attend(stored, turned[:, :heads], 0.3, window)
    written = stored.keys, stored.values

    stored.keys, stored.values = before[0].clone(), before[1].clone()
    tensors = stored.keys, stored.values, stored.prompt_keys, stored.prompt_values, norms[0], norms[1]
    layer = kernels.Layer(*map(pointer, tensors), window or sys.maxsize, 0.3, 1e-6)
    places = cache.prompt_of, cache.lengths, cache.prompt_lengths, positions, cosines, sines
    step = kernels.Step(rows, heads, 131, max(prompt_lengths), 2, *map(pointer, places))
    out = torch.full((rows, heads, head), math.nan, dtype=dtype)
    functions.attend(ctypes.byref(layer), ctypes.byref(step), pointer(qkv), pointer(out))
    torch.testing.assert_close(out.float(), expected, atol=4 * NEAR[dtype], rtol=4 * NEAR[dtype])
    for mine, theirs in zip((stored.keys, stored.values), written, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("adds", [True, False])
def test_the_norm_is_torchs(adds, dtype):
    functions = built(16, 1, dtype, 80)
    torch.manual_seed(0)
    hidden, more = torch.randn(5, 80).to(dtype), torch.randn(5, 80).to(dtype)
    weight = torch.rand(80) + 0.5
    expected_hidden = hidden + more if adds else hidden.clone()
    expected = functional.rms_norm(expected_hidden.float(), (80,), weight, 1e-5)
    out = torch.full_like(hidden, math.nan)
    functions.add_norm(pointer(hidden), pointer(more) if adds else None, pointer(weight), 1e-5, pointer(out), 5, 80, 2)
    assert torch.equal(hidden, expected_hidden)
    torch.testing.assert_close(out.float(), expected, atol=NEAR[dtype], rtol=2 * NEAR[dtype])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_other_number_formats_are_not_served(dtype):
    assert kernels.functions_for(64, 3, dtype) is None


def test_sizes_that_no_vector_divides_are_not_served():
    assert kernels.functions_for(64, 3, torch.float32, 576, 1534) is None


@pytest.fixture
def afresh(tmp_path, monkeypatch):
    """Nothing built yet, nor remembered."""
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path))
    kernels.functions_for.cache_clear()
    yield tmp_path
    kernels.functions_for.cache_clear()


def test_without_a_compiler_torch_does_it_all(afresh, monkeypatch, caplog):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(afresh))
    with caplog.at_level(logging.INFO):
        assert kernels.functions_for(64, 3, torch.float32) is None
    assert "no C compiler" in caplog.text


def test_a_compiler_that_fails_is_quoted(afresh, monkeypatch, caplog):
    compiler = afresh / "broken"
    compiler.write_text("#!/bin/sh\necho 'fatal error: no such processor' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with caplog.at_level(logging.WARNING):
        assert kernels.functions_for(64, 3, torch.float32) is None
    assert "no such processor" in caplog.text
    assert not list(afresh.glob("native-*"))


def test_what_a_compiler_says_need_not_be_text(afresh, monkeypatch, caplog):
    compiler = afresh / "broken"
    compiler.write_bytes(b"#!/bin/sh\nprintf 'fatal \\377 error' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with caplog.at_level(logging.WARNING):
        assert kernels.functions_for(64, 3, torch.float32) is None
    assert "fatal" in caplog.text


def test_a_library_that_was_cut_off_is_built_again(afresh):
    built(32, 2, torch.float32)
    (made,) = afresh.glob("native-*")
    made.unlink()  # this process has it mapped
    made.write_bytes(b"")
    assert subprocess.run([sys.executable, "-c", BUILDS], capture_output=True, text=True).stdout.strip() == "True"
    assert made.stat().st_size > 1000


def test_another_users_library_is_not_loaded(afresh, monkeypatch, caplog):
    built(32, 2, torch.float32)
    kernels.functions_for.cache_clear()
    monkeypatch.setattr(kernels.os, "getuid", lambda: 12_345)
    path = next(afresh.glob("native-*"))
    if path.stat().st_uid == 0:  # root's is fine, so it becomes somebody's
        kernels.os.chown(path, 54_321, -1)
    with caplog.at_level(logging.WARNING):
        assert kernels.functions_for(32, 2, torch.float32) is None
    assert "belongs to another user; set R1RL_CACHE" in caplog.text


def test_without_a_home_there_is_no_cache(afresh, monkeypatch, caplog):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(kernels, "cache_dir", nowhere)
    with caplog.at_level(logging.WARNING):
        assert kernels.functions_for(32, 2, torch.float32) is None
    assert "Could not determine home directory" in caplog.text


def test_processes_that_build_at_once_do_not_disturb_each_other(afresh):
    built(32, 2, torch.float32)
    for made in afresh.glob("native-*"):
        made.unlink()
    both = [subprocess.Popen([sys.executable, "-c", BUILDS], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in both] == ["True"] * 3
    assert [path.suffix for path in afresh.iterdir()] == [".so"]
