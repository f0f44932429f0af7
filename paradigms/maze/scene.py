"""What the scene of the maze needs: how many rooms and doors there are, what all maps share, and where the cheese is."""

from __future__ import annotations

from typing import Any

import numpy as np

from activebmr import Paradigm
from activebmr.paradigms.maze.maps import maps

__all__ = ["scene_data"]


def scene_data(paradigm: Paradigm) -> dict[str, Any]:
    """Numbers of rooms and doors, the rooms to which corridors lead ``(rooms, corridors)``, and the room with the cheese."""
    size = {name: int(paradigm.settings[name]) for name in ("n_maps", "n_rooms", "n_doors", "map_seed", "corridors")}
    table = maps(size["n_maps"], size["n_rooms"], size["n_doors"], size["map_seed"], corridors=size["corridors"])[0]
    return {
        "rooms": size["n_rooms"],
        "doors": size["n_doors"],
        "corridors": table[:, : size["corridors"]].tolist(),
        "cheese": int(np.argmax(next(iter(paradigm.score.values())))),
    }
