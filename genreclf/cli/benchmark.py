"""``python -m genreclf benchmark [--quick] [--json] [overrides]``: what each part costs on this machine."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from genreclf.config.config import Config
from genreclf.errors import UserError

PARTS = ("store", "data", "steps", "switches", "fit", "command", "sizes")
"""What can be measured alone with --only."""

LARGE = "streaming"
"""Measured only when it is asked for: it writes a store larger than the memory."""

SWITCHES = {
    "defaults": [],
    "trainer.precision=32-true": ["trainer.precision=32-true"],
    "optimizer.fused=false": ["optimizer.fused=false"],
    "trainer.compile=default": ["trainer.compile=default"],
}
"""Settings that make steps faster or slower and change results by rounding alone."""

MODELS = ("ffnn", "cnn", "crnn")
"""Models whose steps --quick measures; else all of ``conf/model``."""


def main(arguments: list[str]) -> None:
    """Measure, and print one table of ratios, or everything as JSON."""
    options = _parser().parse_args(arguments)
    if unknown := [word for word in options.overrides if "=" not in word]:
        raise UserError(f"{unknown[0]} is neither an option of benchmark nor an override KEY=VALUE.")
    # Progress bars and warnings are none of the figures.
    with tempfile.TemporaryDirectory(dir=options.scratch) as directory, redirect_stdout(sys.stderr):
        results = measure(options, Path(directory))
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        _show(results)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the figures of every part wanted; progress goes to stderr."""
    from benchmarks.suite.command import measure_command
    from benchmarks.suite.data_path import measure_data_path
    from benchmarks.suite.device import describe
    from benchmarks.suite.invented import write_pictures, write_songs
    from benchmarks.suite.sizes import measure_sizes
    from benchmarks.suite.store import measure_store
    from benchmarks.suite.streaming import measure_streaming
    from benchmarks.suite.training import measure_fit, measure_steps

    quick = options.quick
    wanted = options.only or PARTS
    overrides = ["logger=csv", *options.overrides]
    chosen = any(word.startswith("data=") for word in overrides)
    kept = any(word.startswith("data.store_dir=") for word in overrides)
    stores = [] if kept else [f"data.store_dir={folder / 'stores'}"]

    def invented(data: str, root: Path) -> Config:
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
        for name in MODELS if quick else _models():
            _say(f"steps of {name}")
            model = _config([*overrides, f"model={name}"])
            fits[name] = measure_steps(model, steps=3 if quick or name == "xiplus_rcnn" else 15)
    if fits:
        results["fit"] = fits
    if "switches" in wanted:
        # Compiling takes a minute.
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
        results["sizes"] = measure_sizes(folder / "sizes", invented, (largest // 4, largest // 2, largest))
    if LARGE in wanted:
        _say("a store larger than the memory")
        songs = write_songs(folder / "streaming/songs", 40)[0].parent.parent
        config = invented("folder", songs)
        results["streaming"] = measure_streaming(config, folder / "streaming/store", options.tracks or 100_000)
    return results


def _config(overrides: list[str]) -> Config:
    from genreclf.cli.compose import checked

    return checked(overrides, run_dir="-")


def _models() -> list[str]:
    from genreclf.config.config import CONFIG_DIR

    return sorted(path.stem for path in Path(CONFIG_DIR, "model").glob("[!_]*.yaml"))


def _say(part: str) -> None:
    print(f"Measuring {part}", file=sys.stderr, flush=True)


def _show(results: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=results["device"])
    for column in ("what", "measured", "against", "ratio"):
        table.add_column(column, justify="right" if column in ("measured", "ratio") else "left")
    for row in _rows(results):
        table.add_row(*row)
    Console().print(table)


def _rows(results: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    if store := results.get("store"):
        ms = store["ms_per_track"]
        ours = f"{ms['store']} ms a track"
        yield "store from audio", ours, f"librosa's loop, {ms['librosa']} ms", f"{store['vs_librosa']} times faster"
        yield "", ours, f"torchaudio's loop, {ms['torchaudio']} ms", f"{store['vs_torchaudio']} times faster"
        floor = f"decoding {ms['decode']} ms + transforms {ms['transform']} ms"
        yield "", ours, floor, f"{store['vs_floor']} times the time"
        yield "", ours, f"reading the bytes, {ms['read_bytes']} ms", ""
    if data := results.get("data"):
        measured = f"{data['batches_per_s']} batches/s"
        cold, ahead = data["cold_batches_per_s"], data["cold_read_ahead_batches_per_s"]
        yield "data path alone", measured, f"from a cold disk, {cold} batches/s, read ahead {ahead}", ""
    fits = results.get("fit", {})
    if "vs_bare_loop" in fits:
        what = f"fit of {fits['model']}, {fits['epochs']} epochs"
        measured = f"{fits['fit_s']} s"
        yield what, measured, f"bare loop, {fits['bare_s']} s", f"{fits['vs_bare_loop']} times the time"
        yield "fixed cost of an epoch", f"{fits['fixed_cost_epoch_s']} s", "", ""
    for name, step in fits.items():
        if isinstance(step, dict):
            measured, bare = f"{step['clips_per_s']} clips/s", f"bare loop, {step['bare_clips_per_s']} clips/s"
            yield f"steps of {name}", measured, bare, f"{step['vs_bare_step']} times the time"
    if switches := results.get("switches"):
        plain = switches["defaults"]
        for name, speed in switches.items():
            yield (
                f"steps, {name}",
                f"{speed} clips/s",
                f"defaults, {plain} clips/s",
                f"{speed / plain:.2f} times as fast",
            )
    if "first_step_s" in results:
        ratio = f"{results['first_step_s'] / results['imports_s']:.2f} times the time"
        yield "first step", f"{results['first_step_s']} s", f"imports alone, {results['imports_s']} s", ratio
        yield "memory of a run", f"{results['memory_mb']} MB", "", ""
    for name, line in results.get("sizes", {}).items():
        measured = " / ".join(str(ms) for ms in line["ms_per_track"])
        tracks = " / ".join(str(tracks) for tracks in line["tracks"])
        yield f"{name}, {tracks} tracks", f"{measured} ms a track", "100,000 tracks", f"{line['hours_per_100000']} h"
        if "memory_mb" in line:
            memory = " / ".join(str(mb) for mb in line["memory_mb"])
            yield "memory of building it", f"{memory} MB", "100,000 tracks", f"{line['gb_per_100000']} GB on the disk"
    if streaming := results.get("streaming"):
        what = f"store of {streaming['store_gb']} GB, {streaming['memory_gb']} GB of memory"
        for key, doing in (("batches_per_s", "cut"), ("training_batches_per_s", "trained on")):
            rates = streaming[key]
            against = f"in memory, {rates['memory']}; without reading ahead, {rates['as_needed']}"
            yield (
                what,
                f"{rates['read_ahead']} batches/s {doing}",
                against,
                f"{rates['read_ahead'] / rates['memory']:.2f}",
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "genreclf benchmark",
        description="Measure what each part costs, against a plain way of doing the same, in one run.",
        epilog="Without data=... the files are invented: noise of GTZAN's size.",
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
    parser.add_argument("--scratch", metavar="FOLDER", help="where files are invented (default: the system's)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for a run: data, model, trainer ...")
    return parser
