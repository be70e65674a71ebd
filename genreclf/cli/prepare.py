"""``python -m genreclf prepare [overrides]``: build a store of spectrograms, waveforms or embeddings, and check it."""

import sys

from genreclf.cli.parser import Parser
from genreclf.cli.printing import note
from genreclf.escaping import say


def main(arguments: list[str]) -> None:
    """Compute missing entries of the store, check all of them, and print the path of the store."""
    options = parser().parse(arguments)
    from genreclf.cli.compose import checked
    from genreclf.experiment.check_encoder import check_encoder
    from genreclf.experiment.corpus import expected_bytes, load_corpus

    config = checked(options.overrides, run_dir="-", config_dir=options.config_dir)
    check_encoder(config)
    if (size := expected_bytes(config)) is not None:
        print(f"The store takes about {size / 1e6:.0f} MB; the progress bar shows the time left.")
    corpus = load_corpus(config)
    corpus.store.check()
    note(*corpus.warnings)
    tracks, frames = len(corpus.store.lengths_frames), sum(corpus.store.lengths_frames.values())
    hours = frames / corpus.spec.frames_per_second / 3600
    print(f"{tracks} tracks, {hours:.2f} hours, {corpus.store.frames.nbytes / 1e6:.0f} MB, all tracks checked.")
    say(corpus.store.directory, sys.stdout)


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "prepare", "Compute the spectrograms of a dataset into the store, check all of them, and print where they are."
    )
    command.add_overrides("as for a training, such as data=folder data.root=my/music features.n_mels=256")
    return command
