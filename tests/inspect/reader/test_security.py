"""Who is let in, and what a request can reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from r1rl.inspect.reader.app import application
from r1rl.inspect.reader.security import Guard, check_address
from r1rl.inspect.reader.state import State

TOKEN = "correct-horse-battery"
PAGES = (
    "/",
    "/rollouts",
    "/prompts",
    "/flow",
    "/gallery",
    "/charts.json",
    "/live",
    "/export.jsonl?step=4",
    "/static/reader.css",
)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("127.0.0.1", 200, id="the address"),
        pytest.param("127.0.0.1:8421", 200, id="with its port"),
        pytest.param("localhost:9000", 200, id="another port, as through a tunnel"),
        pytest.param("[::1]:8421", 200, id="IPv6"),
        pytest.param("LOCALHOST", 200, id="in capitals"),
        pytest.param("evil.example", 421, id="a name that was bound to this address"),
        pytest.param("127.0.0.1.evil.example", 421, id="a name that looks like an address"),
        pytest.param("localhost.evil.example", 421, id="a name that looks like ours"),
        pytest.param("192.0.2.7", 421, id="an address that is not listened on"),
        pytest.param("", 421, id="none"),
        pytest.param("127.0.0.1@evil.example", 421, id="with a user"),
    ],
)
def test_a_host_name_that_is_not_ours_is_refused(client: TestClient, host: str, status: int) -> None:
    assert client.get("/live", headers={"host": host}).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/rollouts", "/static/reader.css"])
def test_the_reader_only_reads(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", [*PAGES, "/no-such-page", "/rollout?at=x", "/static/nothing.js"])
def test_every_answer_has_the_policy(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'", "nothing inline"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../security.py", "/static/..%2fsecurity.py", "/static/%2e%2e/security.py",
        "/static/%2e%2e%2fsecurity.py",
        "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/....//security.py", "/static/reader.css%00.py",
        "/../../../etc/passwd", "/rollouts/../../recipe.yaml", "/recipe.yaml", "/rollouts/eval-000000-0000.parquet",
        "/rollout?at=..%2F..%2Fwide:eval-0-0:0", "/rollout?at=%2Fetc%2Fpasswd:eval-0-0:0", "/?run=..%2F..%2Fwide",
        "/gallery?run=%2Fetc", "/prompt?run=..&prompt=x", "/flow?run=.",
    ],
)  # fmt: skip
def test_no_path_of_a_request_is_followed(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (200, 400, 404)
    assert "root:" not in answer.text
    assert "def check_address" not in answer.text
    assert "hf_hidden" not in answer.text
    if answer.status_code == 200:  # an overview of no run
        assert path.startswith("/?run=")
        assert "Self-correction" not in answer.text


def test_a_request_changes_no_file(client: TestClient, wide_run: Path) -> None:
    def stamps() -> dict[str, Any]:
        return {str(path): path.stat().st_mtime_ns for path in wide_run.rglob("*")}

    before = stamps()
    for path in PAGES:
        assert client.get(path).status_code == 200
    assert stamps() == before


def test_a_secret_of_a_recipe_is_on_no_page(client: TestClient) -> None:
    assert all("hf_hidden" not in client.get(path).text for path in PAGES)


@pytest.mark.parametrize(
    ("host", "token", "message"),
    [
        pytest.param("0.0.0.0", None, "give --token as well", id="every address"),
        pytest.param("192.168.1.4", None, "give --token as well", id="an address of the network"),
        pytest.param("::", None, "give --token as well", id="every address, IPv6"),
        pytest.param("node7", None, "give --token as well", id="a name"),
        pytest.param("0.0.0.0", "hunter2", "guessed too easily", id="a short token"),
        pytest.param("127.0.0.1", None, "", id="loopback"),
        pytest.param("127.8.8.8", None, "", id="loopback too"),
        pytest.param("localhost", None, "", id="its name"),
        pytest.param("::1", None, "", id="loopback, IPv6"),
        pytest.param("0.0.0.0", TOKEN, "", id="with a token"),
    ],
)
def test_others_need_a_token(host: str, token: str | None, message: str) -> None:
    if not message:
        check_address(host, token)
        return
    with pytest.raises(ValueError, match=message):
        check_address(host, token)


def guarded(state: State, host: str = "0.0.0.0") -> TestClient:
    app: Guard = application(state, host=host, token=TOKEN, follow=False)
    return TestClient(app, base_url="http://192.0.2.7", follow_redirects=False)


def test_without_the_token_nothing_is_told(state: State) -> None:
    client = guarded(state)
    for path in (*PAGES, "/no-such-page"):
        answer = client.get(path)
        assert answer.status_code == 403
        assert "wide" not in answer.text
        assert TOKEN not in answer.text
    for wrong in ("", "x", TOKEN[:-1], TOKEN + "x", "é" * 20):
        assert client.get(f"/?token={quote(wrong)}").status_code == 403
    assert client.get("/", headers={"cookie": "r1rl_reader=x; r1rl_reader=y"}).status_code == 403


def test_the_token_is_asked_for_once_and_kept_out_of_addresses(state: State) -> None:
    client = guarded(state)
    answer = client.get(f"/rollouts?step=4&token={TOKEN}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/rollouts?step=4"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite" in cookie
    assert TOKEN not in cookie
    assert client.get("/rollouts?step=4").status_code == 200


def test_a_token_leads_to_no_other_site(state: State) -> None:
    answer = guarded(state).get(f"http://192.0.2.7//evil.example/?token={TOKEN}")
    assert answer.headers["location"] == "/evil.example/"


def test_with_a_token_a_name_is_checked_all_the_same(state: State) -> None:
    client = guarded(state)
    assert client.get("/live", headers={"host": "evil.example"}).status_code == 421
    assert client.get(f"/live?token={TOKEN}", headers={"host": "10.0.0.3:8421"}).status_code == 303


def test_a_long_address_is_refused(client: TestClient) -> None:
    assert client.get("/rollouts?text=" + "x" * 20_000).status_code == 414


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        pytest.param("/rollouts?regex=(", 400, "missing )", id="an expression that means nothing"),
        pytest.param("/rollouts?regex=(((a{1000}){1000}){1000})", 400, "regex", id="an expression as large as a house"),
        pytest.param("/rollouts?regex=(a*)*$b", 200, "No rollout is like that", id="one that others backtrack on"),
        pytest.param("/rollouts?step=x", 400, "need a number", id="no step"),
        pytest.param("/rollouts?page=99999", 200, "No rollout is like that", id="a page behind the last"),
        pytest.param("/rollout?at=", 400, "need a rollout", id="no place"),
        pytest.param("/rollout?at=wide:eval-0-0:99999", 404, "no such rollout", id="a row there is not"),
        pytest.param("/rollout?at=wide:eval-0-0:0&part=7x", 400, "part=", id="no part"),
        pytest.param("/prompt?run=wide&prompt=none", 404, "no such eval rollouts", id="a prompt there is not"),
        pytest.param("/gallery?run=none", 404, "not among the runs", id="a run there is not"),
        pytest.param("/gallery?step=77", 200, "None.", id="a step that has none"),
        pytest.param("/rollouts?text=%00%ff%fe", 200, "No rollout is like that", id="bytes that are no text"),
    ],
)
def test_what_cannot_be_asked_is_said(client: TestClient, path: str, status: int, words: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert words in answer.text
