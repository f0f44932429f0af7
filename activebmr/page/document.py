"""The page as one HTML file that opens from the file system, needs no network and allows none."""

from __future__ import annotations

import base64
import hashlib
import html as markup
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from activebmr import checks
from activebmr.files import in_one_move
from activebmr.page.assets import embedded, script, style
from activebmr.page.contents import contents_of
from activebmr.simulation.result import Result

__all__ = ["as_json", "html", "program", "write"]

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<noscript>This page needs JavaScript, which is switched off here.</noscript>
<main id="page"></main>
<script type="application/json" id="contents">{contents}</script>
<script>{script}</script>
</body>
</html>
"""
_START = """
const contents = JSON.parse(document.getElementById("contents").textContent);
thinkingPage(document.getElementById("page"), contents, SCENE, {keys: document});
"""


def html(
    result: Result,
    *,
    agents: Sequence[int] | None = None,
    schemes: Sequence[str] | None = None,
    paradigm: Any = None,
) -> str:
    """A page that shows the agents of a result thinking, as the text of an HTML file.

    Args:
        result: of `activebmr.simulate`. Without a trace its agents live again, with the same seed.
        agents: numbers of the agents that can be chosen in the page; the first 64 by default.
        schemes: names of the schemes that can be chosen; all by default.
        paradigm: a `Paradigm` or several (one per scheme), or a paradigm's module or name; by default the one that the result's
            settings name. Paradigms that are not installed must be handed over.

    Returns:
        the text: everything is in it, and its content security policy forbids any request.

    Raises:
        ValueError, TypeError: if an agent or a scheme is not in the result, the paradigm cannot be found or is another one, or
            its scene is no function.

    Example:
        >>> written = Path("page.html").write_text(html(result, agents=[0, 1]), encoding="utf-8")
    """
    contents, scene = contents_of(result, agents, schemes, paradigm)
    code = f'(() => {{\n"use strict";\n{program(scene)}{_START}}})();'
    look = style()
    policy = (
        f"default-src 'none'; script-src '{_digest(code)}'; style-src '{_digest(look)}'; base-uri 'none'; form-action 'none'"
    )
    return _DOCUMENT.format(
        policy=markup.escape(policy, quote=False),
        title=markup.escape(f"{contents['paradigm']}: agents thinking"),
        style=look,
        contents=as_json(contents),
        script=code,
    )


def write(
    result: Result,
    path: str | os.PathLike[str],
    *,
    agents: Sequence[int] | None = None,
    schemes: Sequence[str] | None = None,
    paradigm: Any = None,
) -> Path:
    """Write the page of a result; see `html`. Its folder is made if need be, and an old file is replaced in one move.

    Raises:
        ValueError: if the path is that of a folder, and as `html` does.

    Example:
        >>> write(result, "three_ball.html").name
        'three_ball.html'
    """
    with in_one_move(checks.path_like(path, "path")) as part:
        part.write_text(html(result, agents=agents, schemes=schemes, paradigm=paradigm), encoding="utf-8", newline="\n")
    return Path(path)


def program(scene: str | None) -> str:
    """All scripts of the page, and the constant ``SCENE``: the paradigm's function, or null."""
    return f"{embedded(script())}\nconst SCENE = {'null' if scene is None else f'({embedded(scene)})'};\n"


def as_json(contents: Any) -> str:
    """JSON that can stand between script tags: nothing in it can end the element or begin another one."""
    text = json.dumps(contents, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
