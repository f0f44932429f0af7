"""A page in the browser that shows agents thinking: one file, no server, no network.

`write` (or `html`) turns a `Result` into a page that plays the trials of its agents moment by moment: the world, what the agent
believes, which hypothesis it holds true, what every policy is worth to it and why, and when it had its insight; two schemes can
be watched side by side. `widget` shows the same in a notebook.

    >>> import activebmr as ab
    >>> from activebmr import page
    >>> from activebmr.paradigms import three_ball
    >>> result = ab.simulate(three_ball.paradigm("reasoning"), n_agents=4, n_trials=8, seed=0, trace=True)
    >>> page.write(result, "three_ball.html")  # doctest: +SKIP

A result without a trace will do too if its paradigm is installed: its agents live again, with the same seed.

**The scene of a paradigm.** A paradigm may draw its own world. It then has ``SCENE``: the text of a JavaScript function, or the
path of a file that holds one, beside its own file; and, if the scene needs numbers, ``scene_data(paradigm)``, which returns
what JSON can hold. The function ``scene(root, world)`` fills the empty element ``root`` with an SVG, and returns an object with
a method ``show(moment)``, which draws a moment:

* ``world.labels``: ``factor`` and ``modality`` (names), ``state[factor]``, ``outcome[modality]`` and ``control[factor]``
  (lists of names); ``world.data``: what ``scene_data`` returned.
* ``moment``: ``trial`` and ``time`` (from 0), ``states`` (an index per factor, or null if they are not known), ``outcomes``
  (per modality, -1 for none), ``controls`` (per factor, or null at the last moment) and ``previous``, the earlier moments of
  the trial.

Colours are CSS variables of the page: ``--ink``, ``--paper``, ``--accent``, ``--muted`` and ``--c0`` to ``--c7``. A scene must
not use the network, and sets all text by ``textContent``. Worlds without a scene of their own get a general one.
"""

from activebmr.page.document import html, write
from activebmr.page.notebook import widget

__all__ = ["html", "widget", "write"]
