"""Brings the notebooks into the one form in which they are stored.

No outputs, no run numbers, ids in order.

    python docs/notebooks/tidy.py [FILE ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def tidied(notebook: dict[str, Any]) -> str:
    """The text of the file that a notebook is stored in."""
    cells = []
    for number, cell in enumerate(notebook["cells"], start=1):
        source = (
            cell["source"]
            if isinstance(cell["source"], str)
            else "".join(cell["source"])
        )
        kept = {"cell_type": cell["cell_type"]}
        kept |= {"execution_count": None} if cell["cell_type"] == "code" else {}
        kept |= {"id": f"cell-{number:02d}", "metadata": {}}
        kept |= {"outputs": []} if cell["cell_type"] == "code" else {}
        cells.append(kept | {"source": source.strip("\n").splitlines(keepends=True)})
    about = {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    whole = {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in [Path(p) for p in sys.argv[1:]] or sorted(FOLDER.rglob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        after = tidied(json.loads(before))
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"tidied {path}")
