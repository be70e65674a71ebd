"""``python -m genreclf prepare [overrides]``: build the store of a source and check it."""

import sys

from genreclf.errors import UserError


def main(arguments: list[str]) -> None:
    """Build what is missing, read everything back, say where it lies."""
    from genreclf.commands.compose import checked
    from genreclf.material import gather

    material = gather(checked(arguments, run_dir="-"))
    damaged = list(material.store.damaged())
    if damaged:
        raise UserError(
            f"{len(damaged)} tracks of the store {material.store.directory} are damaged, {damaged[0]} first; "
            "delete the folder and prepare again."
        )
    for notice in material.notices:
        print(f"Note: {notice}", file=sys.stderr)
    tracks, frames = len(material.store.lengths_frames), sum(material.store.lengths_frames.values())
    hours = frames / material.spec.frames_per_second / 3600
    print(f"{tracks} tracks, {hours:.2f} hours, {material.store.frames.nbytes / 1e6:.0f} MB, every one checked.")
    print(material.store.directory)
