"""Measure how much W&B logging slows down a training: fits with ``logger=wandb``, offline, against ``logger=none``.

    python -m benchmarks.wandb_cost [--rounds N] [KEY=VALUE ...]

Other work on the machine makes some epochs slower, so the duration of a fit is that of its fastest epoch times the
number of epochs, plus the least time that a fit needs before and after its epochs (as in
``benchmarks.training.measure_fit``). Prints JSON: seconds of that, of every epoch and of every fit, and the ratios.
"""

import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from statistics import median

from benchmarks.training import fit_s
from genreclf.cli.compose import checked

LOGGERS = ("wandb", "none")
DEFAULTS = ("data=synthetic", "data.tracks_per_genre=20", "data.duration_s=10", "model=crnn", "trainer.max_epochs=6")


def main() -> None:
    """Measure and print the results as JSON; progress is written to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="fits of each; default: 5")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the training")
    options = parser.parse_args()
    os.environ["WANDB_MODE"] = "offline"
    configs = {name: checked([*DEFAULTS, f"logger={name}", *options.overrides], run_dir="-") for name in LOGGERS}
    epochs_s: dict[str, list[float]] = {name: [] for name in LOGGERS}
    fits_s: dict[str, list[float]] = {name: [] for name in LOGGERS}
    outside_s: dict[str, list[float]] = {name: [] for name in LOGGERS}
    with redirect_stdout(sys.stderr):
        for number in range(options.rounds + 1):
            for name in LOGGERS if number % 2 else reversed(LOGGERS):
                history: list[dict[str, float]] = []
                whole_s = fit_s(configs[name], history)
                if number:  # The first round warms up.
                    each_s = [row["epoch_s"] for row in history]
                    epochs_s[name] += each_s
                    fits_s[name].append(whole_s)
                    outside_s[name].append(whole_s - sum(each_s))
    epochs = configs["none"].trainer.max_epochs
    fastest_s = {name: epochs * min(epochs_s[name]) + min(outside_s[name]) for name in LOGGERS}
    figures = {"fit_s": fastest_s, "epochs_s": epochs_s, "fits_s": fits_s, "outside_s": outside_s}
    ratio = round(fastest_s["wandb"] / fastest_s["none"], 3)
    medians = {name: median(epochs_s[name]) for name in LOGGERS}
    median_ratio = round(medians["wandb"] / medians["none"], 3)
    print(json.dumps({**figures, "ratio": ratio, "ratio_of_median_epochs": median_ratio}))


if __name__ == "__main__":
    main()
