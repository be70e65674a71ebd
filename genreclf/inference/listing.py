"""Find the audio files at the paths that a user gives to a command."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from genreclf.audio.formats import SONG_SUFFIXES
from genreclf.values import LONGEST_NAME


def audio_files(paths: Sequence[str]) -> Iterator[tuple[Path, str | None]]:
    """Yield the files of `paths`, including those in folders at any depth, in natural order.

    Links to folders are not followed. Paths that the user gave are always yielded; from folders, only files with an
    audio suffix that are not hidden.

    Yields:
        The path of a file and None, or a path that cannot be used and the reason.
    """
    for path in map(Path, paths):
        if not os.path.isdir(path):  # False if the name is too long.
            yield path, None
            continue
        found = sorted(_below(path), key=lambda each: natural_order(each[0]))
        yield from found
        if not found:
            yield path, "a folder without audio files"


def natural_order(path: Path) -> tuple[list[str], Path]:
    """Return a sorting key that orders paths by the numbers in them: ``2.wav`` before ``10.wav``."""
    return [re.sub("[0-9]+", lambda digits: digits[0].zfill(LONGEST_NAME), part) for part in path.parts], path


def short_name(path: Path, given: Sequence[str]) -> str:
    """Return the path of a file relative to the given folder in which `audio_files` found it.

    If several paths are given, the result begins with the name of the folder. A file that the user gave directly keeps
    its path.
    """
    folders = [Path(word) for word in given if path != Path(word) and path.is_relative_to(word)]
    if not folders:
        return str(path)
    folder = max(folders, key=lambda each: len(each.parts))
    return str(path.relative_to(folder.parent if len(given) > 1 and folder.name else folder))


def _below(folder: Path) -> Iterator[tuple[Path, str | None]]:
    problems: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=problems.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (link := Path(parent, name)).is_symlink():
                yield link, "a link to a folder, which is not followed"
        for name in files:
            path = Path(parent, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() in SONG_SUFFIXES or (path.is_symlink() and not os.path.exists(path)):
                yield path, None
    for problem in problems:
        yield Path(problem.filename), f"a folder that cannot be listed ({problem.strerror})"
