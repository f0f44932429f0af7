"""The commands ``activebmr prune bnn`` and ``prune sparse``: pruning of single weights. Torch is imported when one runs."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

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
    need_torch,
    run_and_report,
)

TABLES = (
    "diabetes",
    "boston",
    "concrete",
    "energy",
    "kin8nm",
    "naval",
    "power",
    "protein",
    "wine",
    "yacht",
    "sine",
    "sawtooth",
    "square",
)
INFERENCES = ("bbb-local", "bbb-global", "vbp", "ivon")
STARTS = ("he", "published")
TARGETS = ("standardised", "raw")
BNN_METHODS = ("full", "naive", "naive-snr", "naive-mean-sd", "iterative", "snr", "mean-sd", "bmr-80")
NETWORKS = ("mlp", "lenet", "vit", "mixer")
SPARSE_METHODS = ("map", "flat", "horseshoe", "bmr-ss", "bmr-rhs")


def bnn(
    data: Annotated[str, typer.Option(help=f"Data set: {', '.join(TABLES)}.", metavar="NAME")] = "diabetes",
    inference: Annotated[str, typer.Option(help=f"How posteriors are found: {', '.join(INFERENCES)}.", metavar="NAME")] = "vbp",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What prunes: {', '.join(BNN_METHODS)} (or another share, in percent); can be repeated.",
            metavar="NAME",
            show_default="all",
        ),
    ] = None,
    splits: Annotated[int, typer.Option(help="Standard splits, from 0 on.", metavar="N")] = 1,
    seeds: Annotated[int, typer.Option(help="Runs of each split, with seeds from 0 on.", metavar="N")] = 1,
    all_rows: Annotated[
        bool,
        typer.Option("--all-rows", help="Train and test on all rows, targets raw, as published free energies do; no splits."),
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="Nats of evidence against its removal with which a weight still goes.", metavar="NATS")
    ] = 0.0,
    start: Annotated[
        str | None,
        typer.Option(
            help="First means and variances: he (learns more units) or published (small means, wide posteriors).",
            metavar="NAME",
            show_default="he; published for waves",
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            help="standardised, or raw as published; reports are in the units of the data either way.",
            metavar="NAME",
            show_default="raw with --all-rows and for waves, else standardised",
        ),
    ] = None,
    hidden: Annotated[
        int | None, typer.Option(help="Units of the hidden layer.", metavar="N", show_default="50; 16 for waves")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs before the first removal.", metavar="N", show_default="the preset's")
    ] = None,
    retrain: Annotated[
        int | None, typer.Option(help="Epochs after each removal.", metavar="N", show_default="the preset's")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the UCI tables; without it they are downloaded once.", metavar="DIR"),
    ] = None,
    jobs: Jobs = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.json and figures.", metavar="DIR", show_default="results/prune-bnn-DATA-INFERENCE"
        ),
    ] = None,
    no_figures: NoFigures = False,
    quiet: Quiet = False,
) -> None:
    """Iterative pruning of Bayesian regression networks (Beckers et al. 2024).

    Trains a Gaussian posterior, removes weights that the evidence is against, all at once (naive) or in rounds with retraining
    (iterative), beside baselines that rank weights otherwise, and writes report.json: settings, and a row for each split, seed
    and method with free energies predicted and observed, held-out RMSE and negative log likelihood, and the share removed.
    Ctrl-C keeps finished epochs; the same command goes on from there.
    """
    check_known("data", data, TABLES)
    check_known("inference", inference, INFERENCES)
    for what, value, known in (("start", start, STARTS), ("targets", targets, TARGETS)):
        if value is not None:
            check_known(what, value, known)
    for name in method or ():
        if not name.startswith("bmr-"):  # which shares there are, the experiment knows
            check_known("method", name, BNN_METHODS)
    check_positive({"--splits": splits, "--seeds": seeds, "--jobs": jobs})
    need_torch()
    from activebmr.cli.prune_weights_tables import bnn_table
    from activebmr.pruning.experiments.bnn import BNNExperiment, bnn_preset, run_bnn

    def make() -> BNNExperiment:
        changes = {k: v for k, v in (("epochs", epochs), ("retrain", retrain)) if v is not None}
        training = replace(bnn_preset(data, inference), **changes)
        wanted = tuple(dict.fromkeys(method)) if method else BNN_METHODS
        folder = None if data_dir is None else str(data_dir)
        return BNNExperiment(data, inference, wanted, training, tolerance, all_rows, folder, start, targets, hidden)

    try:
        experiment = make()
    except ValueError as error:
        raise Problem(error) from error
    runs = [(None if all_rows else split, seed) for split in range(1 if all_rows else splits) for seed in range(seeds)]
    run_and_report(
        lambda folder, tell: run_bnn(experiment, runs, folder, jobs=jobs, tell=tell),
        asdict(experiment) | {"splits": None if all_rows else splits, "seeds": seeds},
        out or Path("results") / f"prune-bnn-{data}-{inference}",
        table=lambda rows, kept: bnn_table(rows, kept, data, inference),
        figures="activebmr.pruning.experiments.bnn_figures",
        no_figures=no_figures,
        quiet=quiet,
    )


def sparse(
    data: Annotated[str, typer.Option(help=f"Images: {', '.join(IMAGES)}.", metavar="NAME")] = "digits",
    model: Annotated[str, typer.Option(help=f"Network: {', '.join(NETWORKS)}.", metavar="NAME")] = "mlp",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="map: the network alone; flat: a posterior, not pruned; horseshoe: mean-field under a horseshoe prior; "
            "bmr-ss and bmr-rhs: pruned by spike-and-slab or horseshoe hyper-priors; can be repeated.",
            metavar="NAME",
            show_default="all",
        ),
    ] = None,
    inference: Annotated[
        str, typer.Option(help="Posteriors of flat, bmr-ss and bmr-rhs: ivon, bbb-local or bbb-global.", metavar="NAME")
    ] = "ivon",
    seeds: Seeds = 1,
    epochs: Annotated[int | None, typer.Option(help="Epochs in all.", metavar="N", show_default="the preset's")] = None,
    start: Annotated[
        int | None, typer.Option(help="Epochs before the first removal.", metavar="N", show_default="the preset's")
    ] = None,
    data_dir: ImageDir = None,
    jobs: Jobs = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.json and figures.", metavar="DIR", show_default="results/prune-sparse-DATA-MODEL"),
    ] = None,
    no_figures: NoFigures = False,
    quiet: Quiet = False,
) -> None:
    """Sparse image classifiers by Bayesian model reduction (Markovic, Friston & Kiebel 2023).

    Trains networks and posteriors over their weights, prunes after every epoch, and writes report.json: settings, and a row for
    each seed and method with accuracy, negative log likelihood and calibration error (20 equal-count bins) over 100 draws of
    the weights, the share removed, and what is left once structures that were cut off are gone. Ctrl-C keeps finished epochs;
    the same command goes on from there.
    """
    for what, value, known in (("data", data, IMAGES), ("model", model, NETWORKS), ("inference", inference, INFERENCES)):
        check_known(what, value, known)
    for name in method or ():
        check_known("method", name, SPARSE_METHODS)
    check_positive({"--seeds": seeds, "--jobs": jobs})
    need_torch()
    from activebmr.cli.prune_weights_tables import sparse_table
    from activebmr.pruning.experiments.sparse import SparseExperiment, run_sparse, sparse_preset

    try:
        settings = sparse_preset(data, model)
        if epochs is not None:  # a short training prunes from earlier on
            settings = replace(settings, epochs=epochs, start=min(settings.start, max(epochs // 3, 1)))
        if start is not None:
            settings = replace(settings, start=start)
        wanted = tuple(dict.fromkeys(method)) if method else SPARSE_METHODS
        folder = None if data_dir is None else str(data_dir)
        experiment = SparseExperiment(data, model, wanted, inference, settings, folder)
    except ValueError as error:
        raise Problem(error) from error
    run_and_report(
        lambda folder, tell: run_sparse(experiment, seeds, folder, jobs=jobs, tell=tell),
        asdict(experiment) | {"seeds": seeds},
        out or Path("results") / f"prune-sparse-{data}-{model}",
        table=lambda rows, kept: sparse_table(rows, data, model),
        figures="activebmr.pruning.experiments.sparse_figures",
        no_figures=no_figures,
        quiet=quiet,
    )
