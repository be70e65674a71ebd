"""``python -m genreclf export RUN``: write a trained model as one file that needs neither genreclf nor PyTorch."""

import sys
from pathlib import Path

from genreclf.cli.parser import Parser
from genreclf.cli.printing import writing
from genreclf.errors import UserError
from genreclf.escaping import say


def main(arguments: list[str]) -> None:
    """Write the file, compare its predictions with those of the original model, and print the largest difference."""
    options = parser().parse(arguments)
    from genreclf.export.files import FORMATS, describe, export
    from genreclf.inference.predictor import GenrePredictor
    from genreclf.run_directory import RunDirectory

    format = FORMATS[options.format]()
    path = options.out or Path(options.run) / f"model{format.suffix}"
    if path.is_dir():
        raise UserError(f"--out {path} is a folder; name a file.")
    predictor = GenrePredictor.of_run(options.run, trust=options.trust)
    metadata = describe(RunDirectory(options.run), predictor)
    with writing("--out", path):
        checked = export(predictor, path, format=format, metadata=metadata, files=options.check)
    for name, difference in checked.differences.items():
        print(f"{difference:.1e}  {name}", file=sys.stderr)
    print(f"Largest difference from the original probabilities: {checked.largest:.1e}")
    say(path, sys.stdout)


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "export",
        "Write the best checkpoint of a run as one file: mono float32 waveforms (batch, sample) at the "
        "run's sample rate in, probabilities (batch, genre) out. It is compared with the original on noise, tones "
        "and the files given, and not kept if a probability differs by more than 0.001.",
    )
    command.add_run("run directory, trained on audio")
    command.add_argument("--format", choices=("onnx", "torch-export"), default="onnx", help="default: onnx")
    command.add_argument("--out", type=Path, metavar="FILE", help="default: RUN/model.onnx or RUN/model.pt2")
    command.add_argument(
        "--check", type=Path, nargs="+", default=[], metavar="FILE", help="audio to compare on, besides noise and tones"
    )
    return command
