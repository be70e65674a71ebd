"""What ``fit`` costs beside the bare loop of `bare_loop.py`, and what of it comes once an epoch.

    python benchmarks/fit_cost.py --accelerator gpu

``fit`` is the real one, with history, CSV log, validation and checkpoints; the loop has the same steps of training and
of validation. The first epoch of each run, in which kernels are chosen and compiled, is taken off both.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bare_loop import BareLoop
from measuring import OUTPUTS, empty, machine, write_json

BATCH_SIZE = 32
CLIP_SECONDS = 10.0
TRAIN_SHARE = 0.7


def fit_s(arguments: argparse.Namespace, out: Path, *, steps: int, epochs: int) -> tuple[float, int]:
    """Return the seconds of one whole ``fit``, and its steps of validation an epoch."""
    from genreclf import experiment, fitting
    from genreclf.commands.compose import checked

    crops = math.ceil(steps * BATCH_SIZE / (arguments.tracks * TRAIN_SHARE))
    config = checked(
        [
            *("data=synthetic", f"data.tracks_per_genre={arguments.tracks // 10}", "split=track"),
            *(f"data.store_dir='{out / 'stores'}'", f"data.batch_size={BATCH_SIZE}", "data.grid_overlap=0"),
            *(f"data.clip_seconds={CLIP_SECONDS}", f"data.crops_per_track={crops}", "model=crnn"),
            *(f"trainer={arguments.accelerator}", f"trainer.max_epochs={epochs}"),
            *(f"trainer.limit_train_batches={steps}", "trainer.gradient_clip_val=null", "scheduler=constant"),
            "logger=csv",
        ],
        run_dir=str(empty(out / f"fit-{steps}-{epochs}")),
    )
    times_s: list[float] = []
    val_steps: list[int] = []
    fit = fitting.fit

    def timed(*given: Any) -> None:
        started_s = time.perf_counter()
        fit(*given)
        times_s.append(time.perf_counter() - started_s)
        val_steps.append(len(given[2].data.val_dataloader()))

    with patch.object(experiment, "fit", timed):
        experiment.run(config)
    return times_s[0], val_steps[0]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return seconds an epoch of ``fit`` and of the loop, their ratio, and the fixed part of an epoch."""
    out = arguments.out.resolve()
    facts = machine(arguments.accelerator)
    epoch_s: dict[int, float] = {}
    val_steps = 0
    for steps in (arguments.few_steps, arguments.steps):
        first_s, val_steps = fit_s(arguments, out, steps=steps, epochs=1)
        all_s, _ = fit_s(arguments, out, steps=steps, epochs=1 + arguments.epochs)
        epoch_s[steps] = (all_s - first_s) / arguments.epochs
    loop = BareLoop(
        accelerator=arguments.accelerator,
        batch_size=BATCH_SIZE,
        clip_seconds=CLIP_SECONDS,
        bf16=facts["best_precision"] == "bf16-mixed",
    )
    loop.epoch_s(train_steps=min(10, arguments.steps), val_steps=1)
    bare_s = min(loop.epoch_s(train_steps=arguments.steps, val_steps=val_steps) for _ in range(arguments.epochs))
    val_s = loop.epoch_s(train_steps=0, val_steps=val_steps)
    step_s = (epoch_s[arguments.steps] - epoch_s[arguments.few_steps]) / (arguments.steps - arguments.few_steps)
    return {
        **facts,
        "steps": arguments.steps,
        "val_steps": val_steps,
        "fit_epoch_s": epoch_s[arguments.steps],
        "bare_epoch_s": bare_s,
        "vs_bare_loop": epoch_s[arguments.steps] / bare_s,
        "step_s": step_s,
        "bare_step_s": (bare_s - val_s) / arguments.steps,
        "fixed_cost_epoch_s": epoch_s[arguments.few_steps] - arguments.few_steps * step_s - val_s,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="of training an epoch")
    parser.add_argument("--few-steps", type=int, default=100, help="to tell an epoch's fixed cost from its steps")
    parser.add_argument("--epochs", type=int, default=4, help="that are measured")
    parser.add_argument("--tracks", type=int, default=200, help="synthetic tracks of 15 s")
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--out", type=Path, default=OUTPUTS / "fit_cost")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the line")
    arguments = parser.parse_args()
    if arguments.few_steps >= arguments.steps:
        parser.error("--few-steps must be less than --steps")
    result = measure(arguments)
    write_json(arguments.out / "fit_cost.json", result)
    if arguments.json:
        print(json.dumps(result))
        return
    print(
        f"{result['device']}: an epoch of {result['steps']} steps {result['fit_epoch_s']:.3f} s, bare loop "
        f"{result['bare_epoch_s']:.3f} s: {result['vs_bare_loop']:.3f}; fixed cost {result['fixed_cost_epoch_s']:.3f} s"
    )


if __name__ == "__main__":
    main()
