"""``python -m genreclf prepare [overrides]``: build the store of a source and check it."""

from genreclf.escaping import say

HELP = """usage: python -m genreclf prepare [KEY=VALUE ...]

Compute the spectrograms of a source into the store, check all of them, and say where they lie. Settings are those of
a training, such as data=folder data.root=my/music features.n_mels=256."""


def main(arguments: list[str]) -> None:
    """Build what is missing, read everything back, say where it lies."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(HELP)
        return
    from genreclf.cli.compose import checked
    from genreclf.experiment.corpus import load_corpus

    corpus = load_corpus(checked(arguments, run_dir="-"))
    corpus.store.check()
    for notice in corpus.warnings:
        say(f"Note: {notice}")
    tracks, frames = len(corpus.store.lengths_frames), sum(corpus.store.lengths_frames.values())
    hours = frames / corpus.spec.frames_per_second / 3600
    print(f"{tracks} tracks, {hours:.2f} hours, {corpus.store.frames.nbytes / 1e6:.0f} MB, every one checked.")
    print(corpus.store.directory)
