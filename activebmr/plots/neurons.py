"""Plots of simulated neuronal responses (`activebmr.simulation.neurons`): firing, field potentials, dopamine, policies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from activebmr import checks
from activebmr.plots.pick import index
from activebmr.plots.style import PALETTE, SHADES, axes_of, colour, number, shade_bar, tidy, title
from activebmr.simulation.neurons import MS_PER_ITERATION, NeuronalResponses

__all__ = ["dopamine", "firing_rates", "local_field_potentials", "policy_rates"]

_CERTAIN = 0.95
_BLANK = "#E4E4E4"  # white would look like a rate of 0


def _factor(responses: NeuronalResponses, factor: str | int) -> tuple[int, str, list[str]]:
    """Index and name of a factor, and the names of its states."""
    names = list(responses.labels["factor"])
    if isinstance(factor, str):
        checks.choice(factor, "factor", names)
        factor = names.index(factor)
    f = index("factor", factor, len(names))
    return f, names[f], list(responses.labels["states"][names[f]])


def _seconds(responses: NeuronalResponses, t: int = -1) -> float:
    """When the outcome at time ``t`` is seen; with -1, when the trial ends."""
    times, iterations = responses.policies.shape[:2]
    return (times if t < 0 else t) * iterations * MS_PER_ITERATION / 1000


def _clock(ax: Axes, responses: NeuronalResponses, line: str = "#777777") -> None:
    """Simulated time along x, with a line at every outcome."""
    times = responses.policies.shape[0]
    ax.vlines([_seconds(responses, t) for t in range(times)], 0, 1, transform=ax.get_xaxis_transform(), color=line,
              linewidth=0.7, linestyle=(0, (3, 2)), zorder=3)  # fmt: skip
    ax.set_xlim(0, _seconds(responses))
    ax.set_xlabel("simulated time (s)")


def _raster(ax: Axes, responses: NeuronalResponses, values: NDArray[np.float64]) -> object:
    """Rates (rows, iterations) as shades against simulated time; nan stays blank."""
    cmap = matplotlib.colormaps[SHADES].with_extremes(bad=_BLANK)
    box = (0.0, _seconds(responses), len(values) - 0.5, -0.5)
    image = ax.imshow(values, cmap=cmap, vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=box)
    _clock(ax, responses)
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_color("#BBBBBB")
    return image


@checks.checked(responses=checks.an(NeuronalResponses), bar=checks.flag, ax=checks.optional(checks.an(Axes)))
def firing_rates(responses: NeuronalResponses, factor: str | int, *, bar: bool = False, ax: Axes | None = None) -> Axes:
    """Firing rates of all units of a factor against simulated time: for each moment of the trial, from the top, one row per
    state.

    Grey: the moment is not represented yet. Dashed lines: an outcome is seen. Rates at the right of the diagonal are about the
    past, at the left of it about the future.

    Args:
        responses: from `activebmr.simulation.neurons.neuronal_responses`.
        factor: name or index.
        bar: whether to add the scale of the shades.
        ax: where to draw.

    Example:
        >>> from activebmr.simulation.neurons import neuronal_responses
        >>> lived, agent = record(result), three_ball.paradigm().agent
        >>> responses = neuronal_responses(agent, agent.init(), lived["outcomes"][0], lived["controls"][0])
        >>> ax = firing_rates(responses, "left")
    """
    f, name, states = _factor(responses, factor)
    rates = responses.rates[f]
    times, iterations, moments, n_states = rates.shape
    ax = axes_of(ax, height=0.8 + 0.11 * moments * n_states)
    image = _raster(ax, responses, rates.reshape(times * iterations, moments * n_states).T)
    ax.hlines(np.arange(1, moments) * n_states - 0.5, 0, _seconds(responses), color=PALETTE["black"], linewidth=0.5)
    ax.set_yticks(np.arange(moments) * n_states + (n_states - 1) / 2, [str(m + 1) for m in range(moments)])
    ax.set_ylabel(f"moment (within it:\n{', '.join(states)})")
    last = rates[-1, -1, times - 1]
    best = states[int(last.argmax())]
    sure = np.array([rates[t, -1, t].max() > _CERTAIN for t in range(times)])
    if sure.all():
        title(ax, f"{name}: known at all times, {best} in the end")
    elif sure[-1]:
        since = int(np.flatnonzero(~sure)[-1]) + 1
        title(ax, f"{name}: {best}, known from outcome {since + 1} ({number(_seconds(responses, since), '.2f')} s)")
    else:
        title(ax, f"{name}: in the end {best} has the highest rate, {last.max():.2f}")
    if bar:
        shade_bar(ax, image, "firing rate (probability)", [0, 0.5, 1])
    return ax


@checks.checked(
    responses=checks.an(NeuronalResponses), colours=checks.optional(checks.sequence), ax=checks.optional(checks.an(Axes))
)
def local_field_potentials(
    responses: NeuronalResponses, factor: str | int, *, colours: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """How fast the firing rates of a factor change, one line per unit (a state at a moment); colours tell states.

    Lines are broken where an outcome is seen: there beliefs may start afresh, which is no change of rate.

    Args:
        responses: from `activebmr.simulation.neurons.neuronal_responses`.
        factor: name or index.
        colours: one for each state of the factor; by default those of the palette.
        ax: where to draw.

    Example:
        >>> from activebmr.simulation.neurons import neuronal_responses
        >>> lived, agent = record(result), three_ball.paradigm().agent
        >>> responses = neuronal_responses(agent, agent.init(), lived["outcomes"][0], lived["controls"][0])
        >>> ax = local_field_potentials(responses, "left", colours=["red", "green", "blue"])
    """
    f, name, states = _factor(responses, factor)
    paints = [colour(j) for j in range(len(states))] if colours is None else list(colours)
    if len(paints) != len(states):
        raise ValueError(f"colours must have one entry for each of the {len(states)} states of {name}; got {len(paints)}")
    rates = responses.rates[f]
    times, iterations, moments, n_states = rates.shape
    change = np.gradient(rates, MS_PER_ITERATION / 1000, axis=1) if iterations > 1 else np.zeros_like(rates)
    seconds = responses.seconds.reshape(times, iterations)
    ax = axes_of(ax, height=1.9)
    for j in range(n_states):
        lines = [
            np.column_stack([seconds[t], change[t, :, m, j]])
            for t, m in product(range(times), range(moments))
            if not np.isnan(change[t, :, m, j]).any()
        ]
        ax.add_collection(LineCollection(lines, colors=paints[j], linewidths=0.9, alpha=0.8, label=states[j]))
    ax.autoscale_view()
    ax.margins(y=0.12)
    _clock(ax, responses)
    ax.axhline(0, color="#555555", linewidth=0.6, zorder=1)
    ax.set_ylabel("change of\nrate (1/s)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05), handlelength=1.0, borderaxespad=0.2, labelspacing=0.2)
    at = np.unravel_index(int(np.nanargmax(np.abs(change))), change.shape)
    if abs(change[at]) > 0:
        title(ax, f"{name} units: up to {number(change[at], '+.0f')} per s ({states[at[3]]}, moment {at[2] + 1})")
    else:
        title(ax, f"{name} units: rates do not change")
    tidy(ax)
    return ax


@checks.checked(responses=checks.an(NeuronalResponses), ax=checks.optional(checks.an(Axes)))
def dopamine(responses: NeuronalResponses, *, ax: Axes | None = None) -> Axes:
    """Simulated phasic dopamine: the rate of change of confidence, up when it becomes clear what to do, down when less so.

    Once nothing is left to do, all policies are alike again, and confidence falls.

    Example:
        >>> from activebmr.simulation.neurons import neuronal_responses
        >>> lived, agent = record(result), three_ball.paradigm().agent
        >>> responses = neuronal_responses(agent, agent.init(), lived["outcomes"][0], lived["controls"][0])
        >>> ax = dopamine(responses)
    """
    values = responses.dopamine
    ax = axes_of(ax, height=1.9)
    step = MS_PER_ITERATION / 1000
    paints = np.where(values >= 0, PALETTE["blue"], PALETTE["vermilion"])
    ax.bar(responses.seconds - step / 2, values, 0.9 * step, color=list(paints), linewidth=0)
    most = max(float(np.abs(values).max()), 1e-3)
    ax.set_ylim(min(0.0, float(values.min())) - 0.12 * most, max(0.0, float(values.max())) + 0.12 * most)
    _clock(ax, responses)
    ax.axhline(0, color="#555555", linewidth=0.6, zorder=1)
    ax.set_ylabel("change of confidence\n(nats per iteration)")
    up = int(values.argmax())
    if values[up] > 0:
        title(ax, f"Dopamine: confidence rises fastest at {number(responses.seconds[up], '.2f')} s")
    else:
        title(ax, "Dopamine: confidence never rises")
    tidy(ax)
    return ax


@checks.checked(
    responses=checks.an(NeuronalResponses), names=checks.optional(checks.sequence), ax=checks.optional(checks.an(Axes))
)
def policy_rates(responses: NeuronalResponses, *, names: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Probability of every policy (rows) against simulated time, as firing rates.

    Args:
        responses: from `activebmr.simulation.neurons.neuronal_responses`.
        names: of the policies, such as `policy_names` gives; numbers by default.
        ax: where to draw.

    Example:
        >>> from activebmr.simulation.neurons import neuronal_responses
        >>> lived, agent = record(result), three_ball.paradigm().agent
        >>> responses = neuronal_responses(agent, agent.init(), lived["outcomes"][0], lived["controls"][0])
        >>> ax = policy_rates(responses, names=policy_names(agent.model))
    """
    times, iterations, n_policies = responses.policies.shape
    words = [f"policy {k}" for k in range(n_policies)] if names is None else [str(n) for n in names]
    if len(words) != n_policies:
        raise ValueError(f"names must have one entry for each of the {n_policies} policies; got {len(words)}")
    ax = axes_of(ax, height=0.8 + 0.18 * n_policies)
    _raster(ax, responses, responses.policies.reshape(times * iterations, n_policies).T)
    ax.hlines(np.arange(0.5, n_policies - 1), 0, _seconds(responses), color="white", linewidth=0.8)
    ax.set_yticks(range(n_policies), words)
    last = responses.policies[-1, -1]
    title(ax, f"Policies: in the end {words[int(last.argmax())]} has the highest rate, {last.max():.2f}")
    return ax
