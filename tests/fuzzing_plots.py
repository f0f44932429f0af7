"""Valid calls of pictures."""

from __future__ import annotations

from fuzzing_kinds import Example, flag, number, numbers, place, text, thing, whole, word, words
from fuzzing_parts import SEEN, ball, call, folder, model, responses, result, several, wide

from activebmr import plots


def of_plots() -> list[Example]:
    r, traced, ax = several(), result(), {"ax": thing(optional=True)}
    who = {"scheme": whole(0, 1, words=True), "agent": whole(0, 1)}
    first = {"scheme": 0, "agent": 0}
    moment = {"trial": whole(0, 1), "scheme": whole(0, 0, words=True), "agent": whole(0, 1), **ax}
    now = {"source": traced, "trial": 0, **first}
    source, m, measure = {"source": thing()}, {"model": thing(others=(wide(),))}, word(names=("result", "measure"))
    held = {"result": thing()}
    n = responses()
    of_factor = {"factor": whole(0, 0, words=True), "responses": thing(), **ax}
    balls = {"source": traced, "model": ball(), "trial": 0, **first}
    panels = {n: getattr(plots, n) for n in ("events", "gains", "values")}
    return [
        call(
            "plots.beliefs",
            plots.beliefs,
            {**balls, "factor": 0, "bar": False},
            **source,
            **m,
            **moment,
            factor=whole(0, 4, words=True),
            bar=flag(),
        ),
        *(call(f"plots.{n}", getattr(plots, n), now, **source, **moment) for n in ("confidence", "doubt")),
        *(
            call(f"plots.{n}", f, balls, **source, **moment, model=thing(optional=True, others=(wide(),)))
            for n, f in panels.items()
        ),
        call(
            "plots.gains",
            plots.gains,
            {**balls, "parts": None, "numbers": False, "legend": True},
            parts=words(optional=True),
            numbers=flag(),
            legend=flag(),
        ),
        call(
            "plots.values",
            plots.values,
            {**balls, "parts": None, "relative": True, "numbers": False, "legend": True},
            parts=words(optional=True),
            numbers=flag(),
            legend=flag(),
            relative=flag(),
        ),
        call("plots.outcomes", plots.outcomes, balls, **source, **m, **moment),
        call(
            "plots.policies",
            plots.policies,
            {**balls, "numbers": False, "bar": False},
            **source,
            **m,
            **moment,
            numbers=flag(),
            bar=flag(),
        ),
        call(
            "plots.value_handles",
            plots.value_handles,
            now,
            **source,
            trial=moment["trial"],
            agent=moment["agent"],
            scheme=moment["scheme"],
        ),
        call("plots.record", plots.record, {"source": traced, **first}, **source, scheme=moment["scheme"], agent=who["agent"]),
        call(
            "plots.relive",
            plots.relive,
            {"result": traced, **first, "trial": 0},
            **held,
            scheme=moment["scheme"],
            agent=who["agent"],
            trial=moment["trial"],
        ),
        call(
            "plots.paradigm_of",
            plots.paradigm_of,
            {"result": traced, "scheme": 0},
            **held,
            scheme=moment["scheme"],
            module=thing(optional=True),
        ),
        call(
            "plots.trial",
            plots.trial,
            {**now, "model": None, "panels": ["events"]},
            **source,
            trial=moment["trial"],
            scheme=moment["scheme"],
            agent=moment["agent"],
            model=thing(optional=True, others=(wide(),)),
            panels=words(optional=True),
        ),
        call("plots.colour", plots.colour, {"index": 0}, index=whole(0)),
        call(
            "plots.curves",
            plots.curves,
            {"result": r, "measure": "free_energy", "schemes": None},
            **held,
            **ax,
            measure=measure,
            schemes=words(optional=True, names=("scheme",)),
        ),
        call(
            "plots.histogram",
            plots.histogram,
            {"result": r, "measure": "score", "schemes": None, "bins": 4},
            **held,
            **ax,
            measure=measure,
            schemes=words(optional=True, names=("scheme",)),
            bins=whole(1),
        ),
        call(
            "plots.insight",
            plots.insight,
            {"result": r, "scheme": 0, "bar": True, "legend": True},
            **held,
            **ax,
            scheme=who["scheme"],
            bar=flag(),
            legend=flag(),
        ),
        call(
            "plots.likelihood",
            plots.likelihood,
            {"A": SEEN, "model": model(), "modality": 0, "outcome": 0, "rows": None, "columns": None, "bar": False},
            A=numbers(least=0),
            model=thing(),
            modality=whole(0, 0, words=True),
            outcome=whole(0, 1, words=True),
            rows=words(optional=True),
            columns=words(optional=True),
            bar=flag(),
            **ax,
        ),
        call(
            "plots.log_odds",
            plots.log_odds,
            {"result": r, **first, "threshold": 3.0},
            **held,
            **who,
            **ax,
            threshold=number(optional=True, finite=False),
        ),
        call(
            "plots.model_posterior", plots.model_posterior, {"result": r, **first, "bar": True}, **held, **who, **ax, bar=flag()
        ),
        call(
            "plots.paired_scatter",
            plots.paired_scatter,
            {"result": r, "measure": "score", "scheme_a": 0, "scheme_b": 1},
            **held,
            **ax,
            measure=measure,
            scheme_a=whole(0, 1, words=True, names=("scheme",)),
            scheme_b=whole(0, 1, words=True, names=("scheme",)),
        ),
        call(
            "plots.series", plots.series, {"result": r, "measure": "confidence", **first}, **held, **who, **ax, measure=measure
        ),
        call(
            "plots.trajectories",
            plots.trajectories,
            {"result": r, "measure": "net_wins", "scheme": 0, "cumulative": False, "highlight": [True, False]},
            **held,
            **ax,
            measure=measure,
            scheme=who["scheme"],
            cumulative=flag(),
            highlight=thing(optional=True),
        ),
        call("plots.wins_and_losses", plots.wins_and_losses, {"result": r, **first}, **held, **who, **ax),
        call("plots.dopamine", plots.dopamine, {"responses": n}, responses=thing(), **ax),
        call("plots.firing_rates", plots.firing_rates, {"responses": n, "factor": 0, "bar": False}, **of_factor, bar=flag()),
        call(
            "plots.local_field_potentials",
            plots.local_field_potentials,
            {"responses": n, "factor": 0, "colours": None},
            **of_factor,
            colours=words(optional=True),
        ),
        call(
            "plots.policy_rates",
            plots.policy_rates,
            {"responses": n, "names": None},
            responses=thing(),
            **ax,
            names=words(optional=True, any_text=True),
        ),
        call("plots.policy_names", plots.policy_names, {"model": model()}, model=thing()),
        call("plots.style", plots.style, {"kind": "print"}, kind=word()),
        call(
            "plots.output",
            plots.output,
            {"form": "png", "dpi": 100.0},
            form=word(optional=True),
            dpi=number(above=0.0, optional=True),
        ),
        call("plots.title", plots.title, {"ax": plots.curves(r), "text": "a"}, ax=thing(), text=text()),
        call(
            "plots.wrap",
            plots.wrap,
            {"text": "a b", "points": 100.0, "size": 9.0, "weight": "normal"},
            text=text(),
            points=number(above=0.0),
            size=number(above=0.0),
        ),
        call(
            "plots.Page",
            plots.Page,
            {"height": 1.0, "head": "a", "below": "b"},
            height=number(above=0.0),
            head=text(),
            below=text(),
        ),
        call(
            "plots.save",
            plots.save,
            {"figure": plots.curves(r), "path": folder() / "a.png", "dpi": 50.0},
            figure=thing(),
            path=place(reads=False),
            dpi=number(above=0.0, optional=True),
        ),
        call("plots.general_figures", plots.general_figures, {"result": r, "folder": folder()}, result=thing()),
    ]
