"""The scripts and the style that pages are made of: plain files in ``assets/``, put one after another into one script.

They need no build step and no library. Each declares functions and nothing runs until one is called; `script` gives them as
text, for a page that calls them within a function of its own::

    f"(() => {{{script('panels')} ... }})()"
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["PAGE", "embedded", "script", "style"]

PAGE = ("panels", "timeline", "story", "scene", "unpack", "lane", "page")
"""All scripts of the page of a result, in their order."""

_FOLDER = Path(__file__).parent / "assets"


@cache
def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def script(*names: str) -> str:
    """Some of the scripts, one after another; all of `PAGE` if none is named.

    Args:
        names: of files in ``assets/`` without their suffix, such as ``"panels"``.

    Example:
        ``script("panels", "timeline")``
    """
    return "\n".join(_read(f"{name}.js") for name in names or PAGE)


def style(*names: str) -> str:
    """Style sheets, one after another; ``"page"``, which all panels need, if none is named."""
    return "\n".join(_read(f"{name}.css") for name in names or ("page",))


def embedded(source: str) -> str:
    """JavaScript that can stand between script tags: what would end or hide the element is written differently.

    Within strings and comments, the only places where a script may hold these, the meaning stays the same.
    """
    return re.sub(r"<(/script|!--|script)", _apart, source, flags=re.IGNORECASE)


def _apart(found: re.Match[str]) -> str:
    word = found.group(1)
    return f"<\\{word}" if word[0] in "/!" else f"\\x3c{word}"
