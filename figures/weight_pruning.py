"""What pruning single weights does: free energy of a regression network (diabetes), and classifiers of digits becoming sparse.

A minute for the first, some minutes for the second; written beside this script.
"""

from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from activebmr import plots
from activebmr.pruning.experiments.bnn import BNNExperiment, bnn_preset, run_bnn
from activebmr.pruning.experiments.bnn_figures import free_energy
from activebmr.pruning.experiments.sparse import SparseExperiment, run_sparse, sparse_preset
from activebmr.pruning.experiments.sparse_figures import by_epoch

METHODS = ("map", "flat", "bmr-ss", "bmr-rhs")


def main() -> None:
    regression = BNNExperiment("diabetes", methods=("full", "iterative"), training=bnn_preset("diabetes"))
    _, curves = run_bnn(regression, [(0, 0)])
    settings = replace(sparse_preset("digits", "lenet"), epochs=60, start=15)
    _, traces = run_sparse(SparseExperiment("digits", "lenet", METHODS, settings=settings), 2, jobs=2)
    with plots.style():
        page = Figure(figsize=(11.0, 7.4), layout="constrained")
        energy, accuracy, calibration, removed = page.subplot_mosaic([["vfe"] * 3, ["acc", "ece", "gone"]]).values()
        free_energy(curves, ax=energy)
        by_epoch(traces, "accuracy", ax=accuracy)
        by_epoch(traces, "ece", ax=calibration)
        by_epoch(traces, "removed", ax=removed)
        page.legend(*accuracy.get_legend_handles_labels(), loc="outside lower center", ncols=len(METHODS) + 1, fontsize=8)
        plots.save(page, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
