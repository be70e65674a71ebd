"""Table of ``python -m benchmarks``: measured values, the values that they are compared with, and their ratios."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table


def show(results: dict[str, Any]) -> None:
    """Print the results of all parts as a table."""
    table = Table(title=results["device"])
    for column in ("what", "measured", "against", "ratio"):
        table.add_column(column, justify="right" if column in ("measured", "ratio") else "left")
    for row in _rows(results):
        table.add_row(*row)
    Console().print(table)


def _rows(results: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    if store := results.get("store"):
        ms = store["ms_per_track"]
        ours = f"{ms['store']} ms per track"
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
        yield "", "median epoch", "the bare epoch before it", f"{fits['median_epoch_vs_bare']} times the time"
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
        yield f"{name}, {tracks} tracks", f"{measured} ms per track", "100,000 tracks", f"{line['hours_per_100000']} h"
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
