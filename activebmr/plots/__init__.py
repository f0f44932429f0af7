"""Figures of simulations and replays: functions that take a `Result` (or a replay) and return matplotlib axes.

Every function draws on the axes given as ``ax``, or else on those of a new figure of its own: save that with
``plots.save(plots.log_odds(result), "log_odds.png")`` (or .svg, .pdf). Notebooks show what a cell ends with. No function uses
``pyplot`` or changes its settings, so nothing has to be closed and no window opens. Titles say what the data show, and are
broken into lines that fit; replace them with ``plots.title(ax, ...)``. Figures for slides are drawn within
``plots.style("talk")``.

Trials and times count from 1 in figures and in the command, and from 0 in arrays and in the arguments of these functions;
hypotheses and agents count from 0 everywhere. "Insight" is said only of agents that adopt the true hypothesis.

From any result:
    `trajectories` of all agents, `curves` of all schemes, `series` and `wins_and_losses` of one agent, `histogram` and
    `paired_scatter` of what each agent achieved, `model_posterior` and `log_odds` of one agent's hypotheses, `insight` of all
    agents; `general_figures` draws what suits any result into a folder.
    `trial` draws the inside of a trial, also of results without a trace, whose agents live again (`relive`).
From a result of ``simulate(..., trace=True)``, or from what `activebmr.replay` returned:
    `events`, `beliefs`, `policies`, `values`, `gains`, `doubt`, `outcomes` and `confidence` within a trial; `record` gives the
    arrays.
From what `activebmr.simulation.neurons.neuronal_responses` returns:
    `firing_rates` and `local_field_potentials` of a factor, `policy_rates`, and `dopamine`.
From a likelihood or its counts:
    `likelihood`.
"""

from activebmr.plots.events import events
from activebmr.plots.general import curves, general_figures
from activebmr.plots.measures import histogram, paired_scatter, series, trajectories, wins_and_losses
from activebmr.plots.models import insight, log_odds, model_posterior
from activebmr.plots.names import policy_names
from activebmr.plots.neurons import dopamine, firing_rates, local_field_potentials, policy_rates
from activebmr.plots.page import FORMATS, WIDTH, Page, output, save
from activebmr.plots.pick import record
from activebmr.plots.relive import paradigm_of, relive
from activebmr.plots.steps import beliefs, confidence, doubt, likelihood, outcomes, policies
from activebmr.plots.style import PALETTE, STYLES, colour, style, title, wrap
from activebmr.plots.trial import PANELS, trial
from activebmr.plots.values import gains, value_handles, values

__all__ = [
    "FORMATS",
    "PALETTE",
    "PANELS",
    "STYLES",
    "WIDTH",
    "Page",
    "beliefs",
    "colour",
    "confidence",
    "curves",
    "dopamine",
    "doubt",
    "events",
    "firing_rates",
    "gains",
    "general_figures",
    "histogram",
    "insight",
    "likelihood",
    "local_field_potentials",
    "log_odds",
    "model_posterior",
    "outcomes",
    "output",
    "paired_scatter",
    "paradigm_of",
    "policies",
    "policy_names",
    "policy_rates",
    "record",
    "relive",
    "save",
    "series",
    "style",
    "title",
    "trajectories",
    "trial",
    "value_handles",
    "values",
    "wins_and_losses",
    "wrap",
]
