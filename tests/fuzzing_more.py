"""Valid calls of copies, Gaussians, reference points, neurons, pages in the browser and what notebooks are made with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from fuzzing_kinds import Example, Kind, Spoiled, flag, indices, number, numbers, place, text, thing, whole, word, words
from fuzzing_parts import ONES, call, folder, listed, model, plain, result, several, space, wide

import activebmr as ab
from activebmr import gaussian, page, plots, references, teaching
from activebmr.inference.paths import PathSettings
from activebmr.interop import gymnasium as gym_world
from activebmr.simulation import registry
from activebmr.simulation.neurons import neuronal_responses
from activebmr.teaching import check, draw
from paradigms import insight, three_ball


def one_of_these(*values: Any, names: tuple[str, ...] = ()) -> Kind:
    """An argument that these values, at least, do not suit."""
    return Kind(lambda valid, rng: (Spoiled(repr(v)[:40], v) for v in values), False, names)


def answer() -> Kind:
    """An answer to an exercise: whatever is said, there is a remark on it and no error."""
    values = [*["nothing", "", b"a", True, 1j, float("nan"), np.inf, -np.inf, 1e300, None, ..., int, len, object(), {1, 2}]]
    values += [[], {}, {"a": 1}, [1.0, "a"], [[1.0, 2.0], [1.0]], np.zeros((2, 2)), np.full(2, "a"), np.full(3, np.nan), 2**70]
    return Kind(lambda valid, rng: (Spoiled(repr(v)[:40], v, False) for v in values))


def broadcast(kind: Kind) -> Kind:
    """Numbers that may be tables as well."""
    return Kind(lambda v, r: (Spoiled(s.label, s.value, s.wrong and s.label != "a table") for s in kind.spoil(v, r)))


def remarked(function: Callable[..., Any]) -> Callable[..., Any]:
    def judged(answer: Any, **more: Any) -> Any:
        remark = function(answer, **more)
        assert isinstance(remark, teaching.Remark), f"no Remark, but {remark!r}"
        return remark

    return judged


def of_copies() -> list[Example]:
    m = model()
    return [
        call("POMDP.with_ A", m.with_, {"A": [ONES / 2], "pA": None}, A=listed(least=0)),
        call("POMDP.with_", m.with_, {"pA": [ONES]}, pA=listed(least=0, fixed=False, optional=True, names=("A", "C"))),
        call("POMDP.with_ B", m.with_, {"B": m.B}, B=listed(least=0)),
        call("POMDP.with_ C", m.with_, {"C": [[0.0, 1.0]]}, C=listed(finite=False, fixed=False, optional=True)),
        call("POMDP.with_ D", m.with_, {"D": [[0.5, 0.5]]}, D=listed(least=0, optional=True)),
        call("POMDP.with_ E", m.with_, {"E": [[0.5, 0.5]]}, E=listed(least=0, optional=True)),
        call("POMDP.with_ policies", m.with_, {"policies": [[[0]], [[1]]]}, policies=indices(0, 1, optional=True, fixed=False)),
        call("POMDP.with_ length", m.with_, {"policy_length": 2}, policy_length=whole(1)),
        call("POMDP.with_ labels", m.with_, {"labels": {}}, labels=thing(optional=False, anything=True)),
        call("POMDP.with_ nothing", m.with_, {}, nothing_there=one_of_these(1, None)),
        call(
            "Agent.with_",
            plain().with_,
            {"planner": ab.Planner(), "trial_length": 3, "remember": False, "inference": "exact"},
            planner=thing(optional=True),
            trial_length=whole(1, optional=True),
            remember=flag(),
            inference=word(optional=True),
        ),
        call("Agent.with_ model", plain().with_, {"model": m, "learning": None}, model=thing(), learning=thing(optional=True)),
        call("Agent.with_ nothing", plain().with_, {}, nothing_there=one_of_these(1, None)),
        call(
            "PathSettings.spm", PathSettings.spm, {"iterations": 4, "policies": "trial"}, iterations=whole(1), policies=word()
        ),
        call("PathSettings.spm nothing", PathSettings.spm, {}, nothing_there=one_of_these(1, None)),
        call(
            "PathSettings.curiosity",
            PathSettings.curiosity,
            {"tau": 4.0, "eta": 1.0},
            tau=number(above=0.0),
            eta=number(least=0.0),
        ),
        call("Learning.retentions_of", ab.Learning().retentions_of, {"model": m}, model=thing()),
    ]


def of_gaussians() -> list[Example]:
    free, any_ = numbers(fixed=False, scalar=True), {"mean": numbers(fixed=False), "variance": numbers(least=0, fixed=False)}
    three = {n: gaussian.Gaussian([0.1, 1.0], [s, s]) for n, s in (("posterior", 0.1), ("prior", 1.0), ("reduced", 0.5))}
    dense = gaussian.DenseGaussian([0.1, 1.0], np.eye(2) * 0.1), gaussian.DenseGaussian([0.0, 0.0], np.eye(2))
    shape = {"mean": np.array([0.1, 1.0]), "variance": np.array([0.1, 0.1]), "prior_variance": 1.0}
    above = broadcast(number(above=0.0))
    others = (dense[0], gaussian.Gaussian([0.0, 1.0, 2.0], [1.0, 1.0, 1.0]))
    positive = Kind(lambda v, r: [*any_["variance"].spoil(v, r), Spoiled("zeros", np.zeros(2))])
    priors = {"mean": numbers(fixed=False), "variance": positive, "prior_variance": above}
    return [
        call("gaussian.Gaussian", gaussian.Gaussian, {"mean": [0.0, 1.0], "variance": [1.0, 1.0]}, **any_),
        call("gaussian.Gaussian.point", gaussian.Gaussian.point, {"at": 0.0}, at=Kind(free.spoil, False, ("mean",))),
        call(
            "gaussian.DenseGaussian",
            gaussian.DenseGaussian,
            {"mean": [0.0, 1.0], "covariance": np.eye(2)},
            mean=numbers(),
            covariance=numbers(),
        ),
        call("gaussian.reduce_gaussian", gaussian.reduce_gaussian, three, **{n: thing(others=others) for n in three}),
        call(
            "gaussian.remove_block",
            gaussian.remove_block,
            {"posterior": dense[0], "prior": dense[1], "index": [0]},
            posterior=thing(others=(three["prior"],)),
            prior=thing(others=(three["prior"],)),
            index=indices(0, 1, fixed=False, empty=True),
        ),
        call(
            "gaussian.removal_evidence",
            gaussian.removal_evidence,
            {**shape, "prior_mean": 0.0},
            **priors,
            prior_mean=broadcast(number()),
        ),
        call(
            "gaussian.removal_threshold",
            gaussian.removal_threshold,
            {n: shape[n] for n in ("variance", "prior_variance")},
            variance=Kind(lambda v, r: [s for s in positive.spoil(v, r) if s.label != "one number"]),
            prior_variance=above,
        ),
        call(
            "gaussian.shrinkage_evidence",
            gaussian.shrinkage_evidence,
            {**shape, "ratio": 0.5},
            **priors,
            ratio=broadcast(number(least=0.0)),
        ),
        call("gaussian.best_shrinkage", gaussian.best_shrinkage, shape, **priors),
    ]


def of_references() -> list[Example]:
    maps = np.array([[[1], [0]], [[1], [1]]])
    balls = three_ball.paradigm()
    lives = {"n_agents": whole(1), "n_trials": whole(1), "seed": whole(0)}
    few = {"n_agents": 2, "n_trials": 2, "seed": 0}
    lone = ab.Agent(model(), trial_length=3)
    state = lone.init()
    return [
        call(
            "references.lower_bound", references.lower_bound, {"space": space(), "answers": 2}, space=thing(), answers=whole(2)
        ),
        call(
            "references.evidence_bound",
            references.evidence_bound,
            {"outcomes": np.array([[[0.9, 0.1], [0.1, 0.9]]]), "prior": np.array([0.5, 0.5]), "sure": 0.95},
            outcomes=numbers(least=0),
            prior=numbers(least=0, optional=True),
            sure=number(above=0.0, most=0.99),
        ),
        call("references.ideal_observer", references.ideal_observer, {"paradigm": balls, **few}, paradigm=thing(), **lives),
        call(
            "references.clairvoyant",
            references.clairvoyant,
            {"paradigm": balls, **few, "jobs": 1},
            paradigm=thing(),
            **lives,
            jobs=whole(None),
        ),
        call(
            "references.optimal_moves",
            references.optimal_moves,
            {"maps": maps, "prior": np.array([0.5, 0.5]), "max_sets": 100},
            maps=indices(0, 1, names=("prior",)),
            prior=numbers(least=0, optional=True),
            max_sets=whole(1),
        ),
        call(
            "references.fewest_moves",
            references.fewest_moves,
            {"maps": maps, "max_sets": 100},
            maps=indices(0, 1, fixed=False),
            max_sets=whole(1),
        ),
        call(
            "neurons.neuronal_responses",
            neuronal_responses,
            {"agent": lone, "state": state, "outcomes": np.array([[0], [1]]), "controls": np.array([[1]])},
            agent=thing(),
            state=thing(others=(lone.init(2), ab.Agent(wide(), trial_length=3).init())),
            outcomes=indices(-1, 1, missing=True, optional=True, fixed=False, names=("controls", "outcome", "observation")),
            controls=indices(0, 1, names=("action",)),
        ),
        call("registry.load_paradigm", registry.load_paradigm, {"name": "three-ball"}, name=word(names=("paradigm",))),
        call(
            "registry.build_paradigm",
            registry.build_paradigm,
            {"module": three_ball, "scheme": "reasoning", "rule": None},
            module=thing(),
            scheme=word(),
        ),
        call("gymnasium.register_paradigms", gym_world.register_paradigms, {}),
    ]


def of_pages() -> list[Example]:
    r, traced = several(), result()
    what = {"result": thing(), "agents": indices(0, 1, optional=True), "schemes": words(optional=True, names=("scheme",))}
    named = {"paradigm": thing(optional=True, names=("module",), others=("nothing there", model()))}
    told = {"agents": np.array([0]), "schemes": ["reasoning"], "paradigm": None}
    sheet = plots.Page(2.0, "a", "b")
    shaded = sheet.axes(0.5, 0.2, 1.0, 1.0)
    shaded.imshow(ONES)
    inches = {n: number(least=None, names=()) for n in ("left", "top")}
    sizes = {n: number(above=0.0) for n in ("width", "height")}
    return [
        call("page.html", page.html, {"result": r, **told}, **what, **named),
        call(
            "page.write",
            page.write,
            {"result": traced, "path": folder() / "a.html"},
            result=thing(),
            path=Kind(lambda v, r: (s for s in place(reads=False).spoil(v, r) if s.value != "a.txt"), False, ("path",)),
        ),
        call(
            "page.widget",
            page.widget,
            {"result": r, **told, "height": 400, "frame": True},
            **what,
            **named,
            height=whole(200),
            frame=Kind(lambda v, r: (s for s in flag().spoil(v, r) if s.value is not None)),
        ),
        call("plots.Page.axes", sheet.axes, {"left": 1.0, "top": 0.2, "width": 2.0, "height": 1.0}, **inches, **sizes),
        call(
            "plots.Page.scale",
            sheet.scale,
            {"ax": shaded, "left": 1.0, "top": 0.2, "height": 1.0, "label": "a", "ticks": [0.0, 1.0]},
            ax=thing(others=(plots.curves(r),)),
            **inches,
            height=sizes["height"],
            label=text(),
            ticks=numbers(fixed=False),
        ),
    ]


def of_teaching() -> list[Example]:
    alone = [n for n in check.__all__ if n not in ("best_scheme", "trial_of_insight", "lead_of_class", "inputs_needed")]
    bars = {"a": 0.2, "b": 0.8}
    title = {"label": text(), "title": text()}
    across = {"across": text()}
    series = thing(names=("value",), anything=True)
    x = np.array([0.0, 1.0])
    most = number(above=0.0, optional=True)
    slept = ab.simulate(insight.paradigm("sleep-own"), n_agents=8, n_trials=16, seed=0)
    awake = int(np.argmax(np.asarray(slept.adoption_trial)[-1] >= 0))
    return [
        call("teaching.Remark", teaching.Remark, {"grade": "right", "text": "a"}, grade=word(), text=text()),
        *(call(f"check.{n}", remarked(getattr(check, n)), {"answer": 0.1}, answer=answer()) for n in alone),
        call(
            "check.best_scheme",
            remarked(check.best_scheme),
            {"answer": "a", "log_evidence": {"a": x, "b": x + 1}, "student": 1},
            answer=answer(),
            log_evidence=thing(),
            student=whole(1, 2),
        ),
        call(
            "check.lead_of_class",
            remarked(check.lead_of_class),
            {"answer": 1.0, "leads": x},
            answer=answer(),
            leads=numbers(fixed=False),
        ),
        call(
            "check.inputs_needed",
            remarked(check.inputs_needed),
            {"answer": ["a"], "first_layer": ONES, "names": ["a", "b"]},
            answer=answer(),
            first_layer=numbers(names=("names",), fixed=False),
            names=words(any_text=True),
        ),
        call(
            "check.trial_of_insight",
            remarked(check.trial_of_insight),
            {"answer": 1, "result": slept, "agent": awake},
            answer=answer(),
            result=thing(),
            agent=whole(0, 7),
        ),
        call(
            "draw.bars",
            draw.bars,
            {"values": bars, "label": "a", "title": "b", "most": None, "stacked": False, "legend": "", "form": ".2f"},
            values=series,
            **title,
            most=most,
            stacked=flag(),
            legend=text(),
            form=text(),
        ),
        call(
            "draw.lines",
            draw.lines,
            {"values": {"a": x}, "label": "a", "across": "b", "title": "c", "start": 1, "most": None, "scale": "linear"},
            values=series,
            **title,
            **across,
            start=whole(None),
            most=most,
            scale=word(),
        ),
        call(
            "draw.shades",
            draw.shades,
            {
                "values": ONES,
                "rows": ["a", "b"],
                "columns": ["a", "b"],
                "label": "a",
                "title": "b",
                "most": None,
                "form": ".2f",
            },
            values=numbers(),
            rows=words(any_text=True),
            columns=words(any_text=True),
            **title,
            most=most,
            form=text(optional=True),
        ),
        call(
            "draw.curves",
            draw.curves,
            {"x": x, "values": {"a": x}, "label": "a", "across": "b"},
            x=numbers(),
            values=series,
            **across,
        ),
        call("draw.dots", draw.dots, {"x": x, "y": x, "across": "a", "label": "b"}, x=numbers(), y=numbers(), **across),
    ]
