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
    from genreclf.commands.compose import checked
    from genreclf.material import gather

    material = gather(checked(arguments, run_dir="-"))
    material.store.check()
    for notice in material.notices:
        say(f"Note: {notice}")
    tracks, frames = len(material.store.lengths_frames), sum(material.store.lengths_frames.values())
    hours = frames / material.spec.frames_per_second / 3600
    print(f"{tracks} tracks, {hours:.2f} hours, {material.store.frames.nbytes / 1e6:.0f} MB, every one checked.")
    print(material.store.directory)
