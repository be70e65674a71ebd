"""What the record of W&B takes of a training: fits with ``logger=wandb``, offline, and with ``logger=none`` in turn.

    python -m benchmarks.wandb_cost [--rounds N] [KEY=VALUE ...]

Prints JSON: the fastest fit of each in seconds, all of them, and the ratio of the fastest.
"""

import argparse
import json
import os
import sys
from contextlib import redirect_stdout

from benchmarks.training import fit_s
from genreclf.cli.compose import checked

LOGGERS = ("wandb", "none")
DEFAULTS = ("data=synthetic", "data.tracks_per_genre=20", "data.duration_s=10", "model=crnn", "trainer.max_epochs=6")


def main() -> None:
    """Measure, and print the figures; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="fits of each; default: 5")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the training")
    options = parser.parse_args()
    os.environ["WANDB_MODE"] = "offline"
    configs = {name: checked([*DEFAULTS, f"logger={name}", *options.overrides], run_dir="-") for name in LOGGERS}
    seconds: dict[str, list[float]] = {name: [] for name in LOGGERS}
    with redirect_stdout(sys.stderr):
        for number in range(options.rounds + 1):
            for name in LOGGERS if number % 2 else reversed(LOGGERS):
                spent_s = fit_s(configs[name])
                if number:  # The first round warms up.
                    seconds[name].append(round(spent_s, 3))
    fastest = {name: min(each) for name, each in seconds.items()}
    print(json.dumps({"fastest_s": fastest, "all_s": seconds, "ratio": round(fastest["wandb"] / fastest["none"], 3)}))


if __name__ == "__main__":
    main()
