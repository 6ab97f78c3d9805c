"""The reader's web application: addresses, templates, and files that are part of it. It answers GET alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import jinja2
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from r1rl.inspect.reader import queries
from r1rl.inspect.reader.filters import Filters
from r1rl.inspect.reader.pages import flow, gallery, overview, prompt, rollouts
from r1rl.inspect.reader.queries import Place
from r1rl.inspect.reader.security import Guard
from r1rl.inspect.reader.state import State
from r1rl.inspect.samples import visible

_HERE: Final = Path(__file__).parent
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_DAY: Final = 86_400
Page = Callable[[State, Request], dict[str, Any]]


def application(state: State, *, host: str = "127.0.0.1", token: str | None = None, follow: bool = True) -> Guard:
    """The reader of some runs, behind its guard. With `follow` a thread follows the folders while it serves."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        if follow:
            state.follow()
        yield
        state.close()

    files = _files()
    environment = _environment({name: f"/static/{name}?{digest}" for name, (_, digest, _) in files.items()})
    pages: dict[str, tuple[str, Page]] = {
        "/": ("overview.html.j2", lambda state, request: overview.context(state, _runs(request))),
        "/rollouts": ("rollouts.html.j2", lambda state, request: rollouts.table(state, _filters(request))),
        "/rollout": ("rollout.html.j2", _rollout),
        "/prompts": ("prompts.html.j2", _prompts),
        "/prompt": ("prompt.html.j2", _prompt),
        "/flow": ("flow.html.j2", lambda state, request: flow.context(state, _run(state, request))),
        "/gallery": ("gallery.html.j2", _gallery),
    }  # fmt: skip

    def page(path: str) -> Callable[[Request], Response]:
        template, context = pages[path]

        def answer(request: Request) -> Response:
            common = {"path": path, "state": state, "version": state.version, "names": state.names}
            if not state.ready:
                return _html(environment, "waiting.html.j2", common)
            try:
                return _html(environment, template, common | context(state, request))
            except (ValueError, LookupError, FileNotFoundError) as error:
                status = 404 if isinstance(error, LookupError | FileNotFoundError) else 400
                message = visible(str(error.args[0] if error.args else error))
                return _html(environment, "error.html.j2", common | {"message": message, "status": status}, status)

        return answer

    def charts(request: Request) -> Response:
        try:
            drawn = (
                flow.drawn(state, _run(state, request))
                if request.query_params.get("view") == "flow"
                else overview.drawn(state, _runs(request))
            )
        except LookupError as error:
            return PlainTextResponse(str(error), 404)
        return JSONResponse(drawn | {"version": state.version})

    def live(request: Request) -> Response:
        running = [run.name for run in state.runs if run.progress == "running"]
        (count,) = state.index.ask("SELECT count(*) AS n FROM rollouts")
        return JSONResponse(
            {
                "version": state.version,
                "ready": state.ready,
                "busy": state.busy,
                "done": state.done,
                "rollouts": count["n"],
                "running": running,
            }
        )

    def export(request: Request) -> Response:
        if not state.ready:
            return PlainTextResponse("the runs are still being read\n", 503)
        try:
            filters = _filters(request)
            number = queries.count(state.index, filters)
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 400)
        headers = {"content-disposition": 'attachment; filename="rollouts.jsonl"', "x-rollouts": str(number)}
        return StreamingResponse(_lines(state, filters), media_type="application/x-ndjson", headers=headers)

    def static(request: Request) -> Response:
        found = files.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("no such file\n", 404)
        body, _, media = found
        return Response(body, media_type=media, headers={"cache-control": f"max-age={_DAY}, immutable"})

    routes = [
        *(Route(path, page(path)) for path in pages),
        Route("/charts.json", charts),
        Route("/live", live),
        Route("/export.jsonl", export),
        Route("/static/{name}", static),
    ]
    inner = Starlette(routes=routes, lifespan=lifespan)
    inner.add_middleware(GZipMiddleware, minimum_size=2_000, compresslevel=4)
    return Guard(inner, host, token)


def _html(environment: jinja2.Environment, template: str, context: dict[str, Any], status: int = 200) -> Response:
    text = environment.get_template(template).render(context)
    # A lone surrogate in a name has no UTF-8.
    return HTMLResponse(text.encode("utf-8", "replace"), status, headers={"cache-control": "no-store"})


def _environment(links: dict[str, str]) -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.globals |= {"static": links, "zip_words": lambda names: [(name, name.replace("_", " ")) for name in names]}
    found.filters |= {"seen": lambda text: visible(str(text)), "grouped": lambda number: f"{number:,}"}
    return found


def _files() -> dict[str, tuple[bytes, str, str]]:
    """What /static has, by name: the bytes, a digest of them, and their type. No path of a request is ever opened."""
    import plotly

    paths = [path for path in sorted((_HERE / "static").iterdir()) if path.suffix in _TYPES]
    paths.append(Path(plotly.__file__).parent / "package_data" / "plotly.min.js")
    found = {}
    for path in paths:
        body = path.read_bytes()
        found[path.name] = (body, hashlib.sha256(body).hexdigest()[:12], _TYPES[path.suffix])
    return found


def _lines(state: State, filters: Filters) -> Iterator[bytes]:
    for row in queries.exported(state.index, filters):
        yield json.dumps(row, ensure_ascii=True).encode() + b"\n"


def _filters(request: Request) -> Filters:
    return Filters.read(request.query_params.multi_items())


def _runs(request: Request) -> list[str]:
    return request.query_params.getlist("run")


def _run(state: State, request: Request) -> str:
    return request.query_params.get("run") or state.names[0]


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    if not text:
        return None
    if not text.isdigit() or len(text) > 12:
        raise ValueError(f"{name}={text[:20]!r}: need a number")
    return int(text)


def _rollout(state: State, request: Request) -> dict[str, Any]:
    place = Place.read(request.query_params.get("at", ""))
    part, shaded = _number(request, "part") or 1, request.query_params.get("shade") == "1"
    return rollouts.one(state, place, _filters(request), part=part, shaded=shaded)


def _gallery(state: State, request: Request) -> dict[str, Any]:
    return gallery.context(state, _run(state, request), _number(request, "step"))


def _prompts(state: State, request: Request) -> dict[str, Any]:
    kind = _kind(request)
    search = request.query_params.get("search", "")[:200]
    return prompt.listing(state, _run(state, request), kind, search, max(1, _number(request, "page") or 1))


def _prompt(state: State, request: Request) -> dict[str, Any]:
    params = request.query_params
    return prompt.one(state, _run(state, request), params.get("prompt", ""), kind=_kind(request),
                      greedy=params.get("greedy") == "1", sample=_number(request, "sample") or 0)  # fmt: skip


def _kind(request: Request) -> str:
    return Filters(kind=request.query_params.get("kind", "")).kind or "eval"
