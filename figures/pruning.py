"""What pruning by model reduction does: an experiment on 8 x 8 digits, written beside this script (half a minute a seed)."""

from pathlib import Path

from matplotlib.figure import Figure

from activebmr import plots
from activebmr.pruning.experiments.bmrs import Experiment, preset, run_experiment
from activebmr.pruning.experiments.bmrs_figures import accuracy_against_compression, spectra_on, structures_by_epoch


def main() -> None:
    experiment = Experiment("digits", "mlp", training=preset("digits", "mlp"))
    rows, kept = run_experiment(experiment, 3, jobs=2)
    with plots.style():
        page = Figure(figsize=(9.0, 7.0), layout="constrained")
        (accuracy, epochs), (means, evidence) = page.subplots(2, 2)
        accuracy_against_compression(rows, ax=accuracy)
        structures_by_epoch(kept[0], ax=epochs)
        spectra_on(means, evidence, kept[0])
        plots.save(page, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
