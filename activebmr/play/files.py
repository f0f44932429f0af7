"""The few files of the page that people play on: read when they are asked for first, and never by a path from outside."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from activebmr.page.assets import script, style

__all__ = ["page_files"]

_FOLDER = Path(__file__).parent / "assets"


def page_files(scene: str | None = None) -> dict[str, tuple[str, bytes]]:
    """Every file that a browser can get: name -> media type and content.

    Args:
        scene: text of a JavaScript function ``scene(root, world)``; None for the general scene. It is a file of its own: an
            error in it takes nothing else along.
    """
    own = "" if scene is None else f"paradigmScene = ({scene});\n"
    screens = "\n".join([script("panels", "scene"), _read("game.js"), _read("after.js")])
    return {
        "index.html": ("text/html", _read("index.html").encode()),
        "class.html": ("text/html", _read("class.html").encode()),
        "class.js": ("text/javascript", f"{script('panels')}\n{_read('class.js')}".encode()),
        "play.css": ("text/css", f"{style()}\n{_read('play.css')}".encode()),
        "screens.js": ("text/javascript", screens.encode()),
        "scene.js": ("text/javascript", own.encode()),
        "play.js": ("text/javascript", _read("play.js").encode()),
    }


@cache
def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
