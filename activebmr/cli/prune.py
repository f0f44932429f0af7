"""The command ``activebmr prune``: pruning experiments. Torch is imported only when one runs."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from activebmr.cli.commands import Commands
from activebmr.cli.problems import Problem
from activebmr.cli.prune_shared import (
    IMAGES,
    ImageDir,
    Jobs,
    NoFigures,
    Quiet,
    Seeds,
    check_known,
    check_positive,
    mean_and_error,
    need_torch,
    run_and_report,
)
from activebmr.cli.prune_weights import bnn, sparse
from activebmr.cli.report import console, print_table

if TYPE_CHECKING:
    from activebmr.pruning.experiments.bmrs import Experiment

MODELS = ("mlp", "lenet5", "resnet50", "vit")

app = Commands(
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)


@app.callback()
def prune(context: typer.Context) -> None:
    """Prune PyTorch networks by Bayesian model reduction (needs the extra 'pruning')."""
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command("bnn", epilog="\b\nExample:\n  activebmr prune bnn --data boston --data-dir tables --splits 20 --jobs 2")(bnn)
app.command("sparse", epilog="\b\nExample:\n  activebmr prune sparse --data fashion-mnist --model lenet --data-dir images")(
    sparse
)


@app.command("bmrs", epilog="\b\nExample:\n  activebmr prune bmrs --data mnist --model lenet5 --data-dir images --seeds 3")
def bmrs(
    data: Annotated[str, typer.Option(help=f"Images: {', '.join(IMAGES)}.", metavar="NAME")] = "digits",
    model: Annotated[str, typer.Option(help=f"Network: {', '.join(MODELS)}.", metavar="NAME")] = "mlp",
    criterion: Annotated[
        list[str] | None,
        typer.Option(
            help="What decides: none, l2, mean, snr, bmrs-n (as released), bmrs-n-exact, bmrs-u8, bmrs-u4 or random; "
            "can be repeated.",
            metavar="NAME",
            show_default="all but bmrs-n-exact and random",
        ),
    ] = None,
    schedule: Annotated[
        str,
        typer.Option(
            help="after: prune the trained network and fine-tune; continuous: after every epoch, one training for each "
            "criterion; ranked: a few structures at a time, with fine-tuning in between.",
            metavar="after|continuous|ranked",
        ),
    ] = "after",
    data_dir: ImageDir = None,
    seeds: Seeds = 1,
    kl_weight: Annotated[
        float | None,
        typer.Option(
            help="Weight of the KL divergence; 1 is the evidence lower bound's, more prunes more.",
            metavar="W",
            show_default="the preset's",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs with noise.", metavar="N", show_default="the preset's")] = None,
    fine_tune: Annotated[
        int | None, typer.Option(help="Epochs of fine-tuning.", metavar="N", show_default="the preset's")
    ] = None,
    jobs: Jobs = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.json and figures.", metavar="DIR", show_default="results/prune-DATA-MODEL"),
    ] = None,
    no_figures: NoFigures = False,
    quiet: Quiet = False,
) -> None:
    """Structured pruning with multiplicative noise (Wright, Igel & Selvan 2024).

    Trains a network with and without noise, prunes it by several criteria, makes it really smaller, and writes report.json:
    settings, and a row for each seed and criterion with accuracy, compression (share of all trainable parameters that are
    connected to removed structures, or belong to their noise), parameters, FLOPs and latency. Ctrl-C keeps finished epochs; the
    same command goes on from there.
    """
    experiment = _experiment(data, model, criterion, schedule, data_dir, kl_weight, epochs, fine_tune)
    check_positive({"--seeds": seeds, "--jobs": jobs})
    from activebmr.pruning.experiments.bmrs import run_experiment

    run_and_report(
        lambda folder, tell: run_experiment(experiment, seeds, folder, jobs=jobs, tell=tell),
        asdict(experiment) | {"seeds": seeds},
        out or Path("results") / f"prune-{data}-{model}",
        table=lambda rows, kept: _table(experiment, rows, seeds),
        figures="activebmr.pruning.experiments.bmrs_figures",
        no_figures=no_figures,
        quiet=quiet,
    )


def _experiment(
    data: str,
    model: str,
    criteria: list[str] | None,
    schedule: str,
    data_dir: Path | None,
    kl_weight: float | None,
    epochs: int | None,
    fine_tune: int | None,
) -> Experiment:
    """The experiment that was asked for; everything a user can get wrong is found here, before any work."""
    check_known("data", data, IMAGES)
    check_known("model", model, MODELS)
    need_torch()
    from activebmr.pruning.experiments.bmrs import CRITERIA, Experiment, preset

    try:
        changes: dict[str, Any] = {} if kl_weight is None else {"weight": kl_weight}
        changes |= {} if fine_tune is None else {"fine_tune": fine_tune}
        training = preset(data, model)
        if epochs is not None:  # what happens in the course of training happens earlier in a short one
            changes |= {"epochs": epochs, "warm_up": min(training.warm_up, max(epochs, 0) // 4)}
            changes |= {"prune_from": min(training.prune_from, max(epochs, 0) // 2)}
        training = replace(training, **changes)
        wanted = tuple(dict.fromkeys(criteria)) if criteria else CRITERIA
        return Experiment(data, model, wanted, schedule, training, None if data_dir is None else str(data_dir))
    except ValueError as error:
        raise Problem(error) from error


def _table(experiment: Experiment, rows: list[dict[str, Any]], seeds: int) -> None:
    def pm(name: str, key: str, digits: int = 2, scale: float = 100.0) -> str:
        return mean_and_error([r for r in rows if r["criterion"] == name], key, digits, scale)

    table = []
    for name in dict.fromkeys(r["criterion"] for r in rows):
        faster = "-" if name == "none" else pm(name, "latency_ratio", 2, 1.0)
        shares = (pm(name, "structures_removed", 1), pm(name, "compression", 1))
        table.append((name, pm(name, "accuracy"), *shares, pm(name, "parameters", 0, 1.0), pm(name, "flops", 0, 1e-3), faster))
    header = ("criterion", "accuracy %", "removed %", "compression %", "parameters", "kFLOPs", "latency ratio")
    title = (
        f"{experiment.model} on {experiment.data}: {seeds} seed{'s' * (seeds > 1)}, KL weight {experiment.training.weight:g}"
    )
    screen = console()
    print_table(screen, title, header, table)
    screen.print(
        "\nremoved: structures (neurons, channels, heads); compression, as Wright et al. count it: parameters that go with "
        "them, and those of their noise, of all trainable ones"
    )
    screen.print(
        "parameters, FLOPs (100 images) and latency: of the compacted network; ratio to the dense one, pair by pair, one thread"
    )
