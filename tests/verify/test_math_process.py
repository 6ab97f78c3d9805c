"""math-verify as a judge: what `compare` says, and that nothing it is given gets out of hand."""

import pytest

from r1rl.verify import math_process
from r1rl.verify.math_process import compare


@pytest.mark.parametrize(
    ("answer", "gold", "status"),
    [
        pytest.param("12", "12", "correct", id="same"),
        pytest.param("x+1", "1+x", "correct", id="algebra"),
        pytest.param("13", "12", "wrong", id="other"),
        pytest.param("?", "12", "unparseable", id="no formula"),
        pytest.param("12", "?", "bad_gold", id="gold is no formula"),
        pytest.param("12", r"\frac{1}{0}", "bad_gold", id="gold is infinite"),
        pytest.param("?", "?", "bad_gold", id="gold comes first"),
        pytest.param("9^{9999}", "12", "wrong", id="too long to write"),
    ],
)
def test_it_compares(answer, gold, status):
    assert compare(answer, gold).status == status


def test_math_verifys_own_timeout_is_a_verdict_though_it_is_a_base_exception(monkeypatch):
    import math_verify
    from math_verify.errors import TimeoutException

    def late(*args, **kwargs):
        raise TimeoutException("x" * 10_000)

    assert not issubclass(TimeoutException, Exception)
    monkeypatch.setattr(math_verify, "verify", late)
    verdict = compare("12", "12")
    assert (verdict.status, verdict.reason) == ("timeout", "math-verify's own time-out")


@pytest.mark.parametrize("name", ["parse", "verify"])
def test_a_bug_of_the_parser_is_named_and_not_paid(name, monkeypatch):
    import math_verify

    def broken(*args, **kwargs):
        raise TypeError("x" * 10_000)

    math_process._read_gold.cache_clear()
    monkeypatch.setattr(math_verify, name, broken)
    verdict = compare("12", "12")
    assert (verdict.status, verdict.reason) == ("unparseable", "math-verify raised TypeError")


@pytest.mark.parametrize("name", ["parse", "verify"])
@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_a_worn_out_process_is_left_to_the_pool(name, error, monkeypatch):
    import math_verify

    def worn_out(*args, **kwargs):
        raise error

    math_process._read_gold.cache_clear()
    monkeypatch.setattr(math_verify, name, worn_out)
    with pytest.raises(error):
        compare("12", "12")
