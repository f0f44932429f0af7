"""Settings of the documentation: Sphinx with MyST and the PyData theme, built without a network (``make docs``)."""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # paradigms and the package of this folder, wherever Sphinx is started

from activebmr.version import __version__  # noqa: E402

project = "activebmr"
author = "The activebmr developers"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.autosummary"]
exclude_patterns = ["_build", "**.ipynb_checkpoints", "notebooks/README.md"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
default_role = "py:obj"  # `simulate` in a docstring is a link if it can be one
nitpicky = False
keep_warnings = True

# --- pages -----------------------------------------------------------------------------------------------------------------
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "cache"  # a notebook is run again when its text has changed
nb_execution_timeout = 180
nb_execution_raise_on_error = True
nb_execution_cache_path = str(ROOT / "build" / "notebooks")

# --- docstrings ------------------------------------------------------------------------------------------------------------
autodoc_typehints = "none"  # docstrings say shapes and units, which types do not
autodoc_member_order = "bysource"
autosummary_generate = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 88

# --- the site --------------------------------------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = f"activebmr {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {
    "logo": {"text": "activebmr"},
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "navigation_depth": 2,
    "show_toc_level": 2,
}
html_context = {"default_mode": "auto"}  # dark or light, as the reader's machine is
copyright = "The activebmr developers, MIT licence"


# --- equations: written as MathML, which browsers draw themselves, so that no script has to be loaded ----------------------
def _mathml(node: Any, block: bool) -> str:
    try:
        made = tex2mathml(node.astext(), as_block=block)
    except MathError as error:  # a warning, which ends the build, names the page
        logging.getLogger(__name__).warning("no MathML for %r: %s", node.astext(), error, location=node)
        return f"<code>{html.escape(node.astext())}</code>"
    kind = "block" if block else "inline"
    return re.sub(r"^<math", f'<math display="{kind}"', made, count=1)


def visit_math(self: Any, node: nodes.math) -> None:
    self.body.append(_mathml(node, False))
    raise nodes.SkipNode


def visit_displaymath(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{_mathml(node, True)}</div>')
    raise nodes.SkipNode


# --- docstrings ------------------------------------------------------------------------------------------------------------
def without_types_own(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A constant without a docstring of its own would get that of its type (``dict``, say), which says nothing about it."""
    own = (type(obj).__doc__ or "").strip().splitlines()
    if what == "data" and own and lines and lines[0].strip() == own[0].strip():
        lines.clear()


def setup(app: Any) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    app.connect("autodoc-process-docstring", without_types_own)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
