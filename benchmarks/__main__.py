"""``python -m benchmarks [--only PART] [--quick] [--json] [KEY=VALUE ...]``: measure each part on this machine."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from benchmarks.command import measure_command
from benchmarks.data_path import measure_data_path
from benchmarks.device import describe
from benchmarks.measuring import models_that_train
from benchmarks.noise import write_pictures, write_songs
from benchmarks.sizes import measure_sizes
from benchmarks.store import measure_store
from benchmarks.streaming import measure_streaming
from benchmarks.table import show
from benchmarks.training import measure_fit, measure_steps
from genreclf.cli.compose import checked
from genreclf.config.config import Config
from genreclf.config.messages import explain
from genreclf.errors import UserError

PARTS = ("store", "data", "steps", "switches", "fit", "command", "sizes")
"""Parts that can be measured alone with ``--only``."""

LARGE = "streaming"
"""Part that is measured only on request, since it writes a store larger than the memory."""

SWITCHES = {
    "defaults": [],
    "trainer.precision=32-true": ["trainer.precision=32-true"],
    "optimizer.fused=false": ["optimizer.fused=false"],
    "trainer.compile=default": ["trainer.compile=default"],
}
"""Settings that change the speed of training steps, and the results only by rounding."""

MODELS = ("ffnn", "cnn", "crnn")
"""Models whose training steps ``--quick`` measures, instead of those of all models that train alone."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks and print a table of ratios, or all results as JSON."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := [word for word in options.overrides if "=" not in word]:
        parser.error(f"{unknown[0]} is neither an option nor an override KEY=VALUE.")
    try:
        # Keep progress bars and warnings apart from the results.
        with tempfile.TemporaryDirectory(dir=options.scratch) as directory, redirect_stdout(sys.stderr):
            results = measure(options, Path(directory))
    except (UserError, HydraException, OmegaConfBaseException) as error:
        parser.error(str(error) if isinstance(error, UserError) else explain(error, can_sweep=False))
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the results of all requested parts; progress is written to stderr."""
    quick = options.quick
    wanted = options.only or PARTS
    overrides = ["logger=csv", *options.overrides]
    chosen = any(word.startswith("data=") for word in overrides)
    kept = any(word.startswith("data.store_dir=") for word in overrides)
    stores = [] if kept else [f"data.store_dir={folder / 'stores'}"]

    def on_noise(data: str, root: Path) -> Config:
        return _config(["split=track", *overrides, f"data={data}", f"data.root={root}", *stores])

    if not chosen:
        write_pictures(folder / "pictures", 40 if quick else 1000)
        overrides = ["split=track", *overrides, "data=spectrogram_images", f"data.root={folder / 'pictures'}", *stores]
    config = _config(overrides)
    results: dict[str, Any] = {"device": describe(config), "overrides": options.overrides, "quick": quick}
    if "store" in wanted:
        _say("store")
        results["store"] = measure_store(write_songs(folder / "songs", options.tracks or (8 if quick else 200)))
    if "data" in wanted:
        _say("data path")
        results["data"] = measure_data_path(config)
    fits: dict[str, Any] = {}
    if "fit" in wanted:
        _say("fit")
        epochs = options.epochs or (2 if quick else 3)
        fits |= measure_fit(config, epochs=epochs, rounds=1 if quick else 4)
    if "steps" in wanted:
        for name in MODELS if quick else models_that_train():
            _say(f"steps of {name}")
            model = _config([*overrides, f"model={name}"])
            fits[name] = measure_steps(model, steps=3 if quick or name == "xiplus_rcnn" else 15)
    if fits:
        results["fit"] = fits
    if "switches" in wanted:
        # Compilation takes about a minute.
        chosen_switches = [name for name in SWITCHES if not (quick and "compile" in name)]
        results["switches"] = {}
        for name in chosen_switches:
            _say(f"steps with {name}")
            step = measure_steps(_config([*overrides, *SWITCHES[name]]), steps=3 if quick else 30)
            results["switches"][name] = step["clips_per_s"]
    if "command" in wanted:
        _say("command")
        results |= measure_command(overrides)
    if "sizes" in wanted:
        _say("sizes")
        largest = options.tracks or (160 if quick else 400)
        results["sizes"] = measure_sizes(folder / "sizes", on_noise, (largest // 4, largest // 2, largest))
    if LARGE in wanted:
        _say("a store larger than the memory")
        songs = write_songs(folder / "streaming/songs", 40)[0].parent.parent
        config = on_noise("folder", songs)
        results["streaming"] = measure_streaming(config, folder / "streaming/store", options.tracks or 100_000)
    return results


def _config(overrides: list[str]) -> Config:
    return checked(overrides, run_dir="-")


def _say(part: str) -> None:
    print(f"Measuring {part}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Measure what each part costs, against a plain way of doing the same, in one run.",
        epilog="Without data=... the files are noise, of GTZAN's size.",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works, not how fast")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    parser.add_argument(
        "--only",
        action="append",
        choices=(*PARTS, LARGE),
        help=f"measure this part; may be repeated; {LARGE} (33 GB) runs only so",
    )
    parser.add_argument(
        "--tracks",
        type=int,
        help="songs of the store (default: 200), of the largest of the sizes (400), of streaming (100,000)",
    )
    parser.add_argument("--epochs", type=int, help="epochs of a fit (default: 3)")
    parser.add_argument("--scratch", metavar="FOLDER", help="where files are written (default: the system's place)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for a run: data, model, trainer ...")
    return parser


if __name__ == "__main__":
    main()
