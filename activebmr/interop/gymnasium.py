"""Gymnasium both ways: any of its worlds with discrete spaces for `activebmr.simulate`, and any paradigm as an environment.

`GymnasiumWorld` makes environments for batches of agents; `ParadigmEnv` is a ``gymnasium.Env``. Importing this module registers
every installed paradigm as ``activebmr/<name>-v0``, so that other programs can learn in it::

    import gymnasium
    import activebmr.interop.gymnasium
    env = gymnasium.make("activebmr/three-ball-v0")

(or, without the second line, ``gymnasium.make("activebmr.interop.gymnasium:activebmr/three-ball-v0")``).
"""

from __future__ import annotations

from activebmr.interop._gymnasium_env import ParadigmEnv, register_paradigms
from activebmr.interop._gymnasium_world import GymnasiumWorld

__all__ = ["GymnasiumWorld", "ParadigmEnv", "register_paradigms"]

register_paradigms()
