"""The game in the browser: a small ASGI application around a `Room` (needs the extra ``play``: starlette and uvicorn).

Addresses, all after ``/TOKEN``: the page and its few files, which are read once when the application is made, so that no path
of a request ever reaches the file system; and under ``api/`` what the page asks for, JSON both ways. Whoever has joined sends
his key in the header ``X-Key``; so does the teacher, whose page ``class`` shows how everybody is doing. An answer that is no
success holds ``error``, a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from activebmr.checks import is_whole
from activebmr.play.files import page_files
from activebmr.play.game import OutOfTurn
from activebmr.play.guard import Guard
from activebmr.play.patience import impatient
from activebmr.play.room import NAME_LENGTH, Full, Room, Stranger

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["make_app", "serve"]

PAGES = {"index.html": "/", "class.html": "/class"}


def make_app(
    room: Room,
    token: str,
    port: int,
    *,
    names: tuple[str, ...] = ("127.0.0.1",),
    any_address: bool = False,
    scene: str | None = None,
    scene_data: Any = None,
    addresses: tuple[str, ...] = (),
) -> Guard:
    """The application that `serve` runs.

    Args:
        room: who plays what.
        token: first part of every address.
        port: port that it will be reached at.
        names, any_address: what this machine is called, see `Guard`.
        scene: text of a JavaScript function ``scene(root, world)`` that draws the paradigm; None for the general one.
        scene_data: plain data that it gets.
        addresses: of the game, that the teacher's page shows.

    Raises:
        ImportError: if starlette is not installed (``pip install activebmr[play]``).
        TypeError: if the scene's data are none that JSON can hold.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import JSONResponse, Response
        from starlette.routing import Route
    except ImportError as error:
        raise ImportError("play in the browser needs starlette and uvicorn: pip install -e '.[play]'") from error
    files = page_files(scene)
    world = describe(room, scene_data)
    try:
        json.dumps(world, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"scene_data of {room.setting.paradigm.name} must return what JSON can hold: {error}") from error

    def file_route(name: str) -> Route:
        kind, content = files[name]

        async def give(request: Request) -> Response:
            return Response(content, media_type=kind)

        return Route(PAGES.get(name, f"/{name}"), give, methods=["GET"])

    def api_route(name: str, answer: Callable[[str, dict[str, Any]], Any]) -> Route:
        async def call(request: Request) -> Response:
            try:
                asked = json.loads(await request.body() or b"{}")
                if not isinstance(asked, dict):
                    raise TypeError("a request must hold a JSON object")
                return JSONResponse(await run_in_threadpool(answer, request.headers.get("x-key", ""), asked))
            except Exception as error:
                status, why = _trouble(error)
                return JSONResponse({"error": why}, status_code=status)

        return Route(f"/api/{name}", call, methods=["POST"])

    api: dict[str, Callable[[str, dict[str, Any]], Any]] = {
        "world": lambda key, asked: world,
        "join": lambda key, asked: _joined(room, _text(asked, "name")),
        "state": lambda key, asked: room.state(key),
        "begin": lambda key, asked: room.begin(key),
        "move": lambda key, asked: room.move(
            key, _whole(asked, "trial"), _whole(asked, "time"), _controls(room, asked), _seconds(asked)
        ),
        "believe": lambda key, asked: room.believe(key, _whole(asked, "trial"), _whole(asked, "hypothesis")),
        "leave": lambda key, asked: room.leave(key),
        "class": lambda key, asked: {"people": room.overview(key), "addresses": addresses, "most": room.most},
        "debrief": lambda key, asked: room.debrief(key) or {"waiting": True},
    }
    routes = [*map(file_route, files), *(api_route(name, answer) for name, answer in api.items())]
    return Guard(Starlette(routes=routes), token, port, names, any_address)


def serve(app: Guard, socket: Any) -> None:
    """Answer requests that come to a socket that is bound, until Ctrl-C.

    Raises:
        ImportError: if uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError("play in the browser needs starlette and uvicorn: pip install -e '.[play]'") from error
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=400,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16384,
        ws="none",
        http=impatient(),
    )
    uvicorn.Server(config).run(sockets=[socket])


def describe(room: Room, scene_data: Any = None) -> dict[str, Any]:
    """What the page must know of the world to show it: names and what can be done, nothing that is to be found out.

    Hypotheses are told only to those who will be asked which they believe, so that they have something to choose from.
    """
    setting = room.setting
    return {
        "paradigm": setting.paradigm.name,
        "description": setting.description,
        "labels": setting.labels,
        "data": scene_data,
        "moves": setting.moves.tolist(),
        "acting": setting.acting,
        "trials": setting.n_trials,
        "times": setting.paradigm.trial_length,
        "ask": setting.ask,
        "hypotheses": setting.sentences_of_hypotheses if setting.ask else [],
        "scored": {str(m): [float(v) for v in worth] for m, worth in setting.paradigm.score.items()},
        "rewarding": setting.rewarding,
        "against": setting.paradigm.scheme,
        "name_length": NAME_LENGTH,
    }


def _joined(room: Room, name: str) -> dict[str, Any]:
    key, _ = room.join(name)
    return {"key": key, "state": room.state(key)}


def _trouble(error: Exception) -> tuple[int, str]:
    """Status and sentence of what went wrong; what the visitor could not know about is told in general."""
    kinds: tuple[tuple[type[Exception], int], ...] = ((Stranger, 401), (Full, 429), (OutOfTurn, 409))
    for kind, status in kinds:
        if isinstance(error, kind):
            return status, str(error)
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, RecursionError)):
        return 400, "a request must hold JSON"
    if isinstance(error, OSError):
        return 507, "it could not be saved: tell whoever runs this"
    if isinstance(error, (ValueError, TypeError)):
        return 400, str(error)
    return 500, f"something went wrong ({type(error).__name__}): tell whoever runs this"


# --- what requests hold ----------------------------------------------------------------------------------------------------
def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name, "")
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text; got {type(value).__name__}")
    return value


def _whole(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if not is_whole(value) or abs(value) > 2**31:  # type: ignore[arg-type]
        raise ValueError(f"{name} must be a whole number; got {value!r}")
    return int(value)  # type: ignore[arg-type]


def _seconds(asked: dict[str, Any]) -> float | None:
    value = asked.get("seconds")
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats, which no clock says
        return None


def _controls(room: Room, asked: dict[str, Any]) -> list[int]:
    value, n = asked.get("controls"), room.setting.model.num_factors
    if not isinstance(value, list) or len(value) != n or not all(is_whole(u) for u in value):
        raise ValueError(f"controls must be {n} whole numbers, one per factor; got {value!r}")
    return [int(u) for u in value]
