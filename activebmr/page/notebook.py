"""The page in a notebook: as a widget if anywidget is installed, or else in a frame of its own."""

from __future__ import annotations

import html as markup
from collections.abc import Sequence
from typing import Any

from activebmr import checks
from activebmr.page.assets import style
from activebmr.page.contents import contents_of
from activebmr.page.document import as_json, html, program
from activebmr.simulation.result import Result

__all__ = ["Frame", "widget"]

_RENDER = """
export default {
  render({ model, el }) {
    const root = document.createElement("div");
    root.tabIndex = 0;
    el.append(root);
    thinkingPage(root, JSON.parse(model.get("contents")), SCENE);
  },
};
"""


class Frame:
    """A page that a notebook shows in a frame; nothing in it can reach the notebook."""

    def __init__(self, text: str, height: int) -> None:
        self.text, self.height = text, height

    def __repr__(self) -> str:
        return f"Frame(a page of {len(self.text) / 1e6:.1f} MB, {self.height} pixels high)"

    def _repr_html_(self) -> str:
        source = markup.escape(self.text)
        return (
            f'<iframe sandbox="allow-scripts" title="agents thinking" srcdoc="{source}" '
            f'style="width: 100%; height: {self.height}px; border: 0"></iframe>'
        )


def widget(
    result: Result,
    *,
    agents: Sequence[int] | None = None,
    schemes: Sequence[str] | None = None,
    paradigm: Any = None,
    height: int = 820,
    frame: bool | None = None,
) -> Any:
    """The page of a result, for the last line of a notebook's cell.

    Args:
        result, agents, schemes, paradigm: see `activebmr.page.html`.
        height: of the frame in pixels, >= 200; the widget is as high as it needs to be.
        frame: whether to show it in a frame; by default only if anywidget is not installed.

    Returns:
        an ``anywidget.AnyWidget``, or a `Frame`.

    Raises:
        ValueError, TypeError: as `activebmr.page.html` does, and if the height is out of range.
        ImportError: if ``frame`` is false and anywidget is not installed.

    Example:
        >>> shown = widget(result, agents=[0])
    """
    height = checks.whole_number(height, "height", 200)
    frame = None if frame is None else checks.flag(frame, "frame")
    if not frame:
        try:
            import anywidget
            import traitlets
        except ImportError:
            if frame is False:
                raise
        else:
            contents, scene = contents_of(result, agents, schemes, paradigm)
            parts = {
                "_esm": program(scene) + _RENDER,
                "_css": style(),
                "contents": traitlets.Unicode(as_json(contents)).tag(sync=True),
            }
            return type("ThinkingPage", (anywidget.AnyWidget,), parts)()
    return Frame(html(result, agents=agents, schemes=schemes, paradigm=paradigm), height)
