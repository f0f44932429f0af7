"""Agents that ask how many hidden causes there are: ``python figures/how_many.py`` draws ``figures/how_many.png`` (minutes)."""

from pathlib import Path

from activebmr import plots, simulate
from activebmr.paradigms import how_many
from activebmr.paradigms.how_many import drawing

AGENTS = {"gain": 1000, "states": 128, "random": 400, "all": 1000}
LOOKS = {"gain": 100, "states": 100, "random": 100, "all": 50}


def main() -> None:
    results = {
        scheme: simulate(how_many.paradigm(scheme, looks=LOOKS[scheme]), n, 1, seed=0, jobs=-1, trace=True)
        for scheme, n in AGENTS.items()
    }
    with plots.style():
        plots.save(drawing.overview(results), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
