"""Figures of simulations and replays: functions that take a `Result` (or a replay) and return matplotlib axes.

Every function draws on the axes given as ``ax``, or else on those of a new figure of its own: save that with
``plots.log_odds(result).figure.savefig("log_odds.png")``. No function uses ``pyplot`` or changes its settings, so nothing
has to be closed and no window opens. Titles say what the data show; replace them with ``ax.set_title(..., loc="left")``.
Trials and times count from 1 in figures (and from 0 in arrays), hypotheses from 0 everywhere.

From any result:
    `trajectories` of all agents, `series` and `wins_and_losses` of one agent, `histogram` and `paired_scatter` of what
    each agent achieved, `model_posterior` and `log_odds` of one agent's hypotheses, `insight` of all agents.
From a result of ``simulate(..., trace=True)``, or from what `activebmr.replay` returns:
    `beliefs`, `policies`, `gains`, `doubt`, `outcomes` and `confidence` within a trial; `record` gives the arrays.
From what `activebmr.simulation.neurons.neuronal_responses` returns:
    `firing_rates` and `local_field_potentials` of a factor, `policy_rates`, and `dopamine`.
From a likelihood or its counts:
    `likelihood`.
"""

from activebmr.plots.measures import histogram, paired_scatter, series, trajectories, wins_and_losses
from activebmr.plots.models import insight, log_odds, model_posterior
from activebmr.plots.neurons import dopamine, firing_rates, local_field_potentials, policy_rates
from activebmr.plots.page import WIDTH, Page, save
from activebmr.plots.pick import record
from activebmr.plots.steps import beliefs, confidence, doubt, gains, likelihood, outcomes, policies, policy_names
from activebmr.plots.style import PALETTE, colour, style, title, wrap

__all__ = [
    "PALETTE",
    "WIDTH",
    "Page",
    "beliefs",
    "colour",
    "confidence",
    "dopamine",
    "doubt",
    "firing_rates",
    "gains",
    "histogram",
    "insight",
    "likelihood",
    "local_field_potentials",
    "log_odds",
    "model_posterior",
    "outcomes",
    "paired_scatter",
    "policies",
    "policy_names",
    "policy_rates",
    "record",
    "save",
    "series",
    "style",
    "title",
    "trajectories",
    "wins_and_losses",
    "wrap",
]
