"""Music with tags of artists, and a run with a library of it."""

import shutil
from pathlib import Path

import pytest
import soundfile
from helpers import Trained

from genreclf.inference.predictor import GenrePredictor
from genreclf.recommend import indexing
from genreclf.run_directory import RunDirectory


@pytest.fixture
def run(trained: Trained, tmp_path: Path) -> str:
    """A run of its own for each test."""
    shutil.copytree(trained.run.path, tmp_path / "run")
    return str(tmp_path / "run")


@pytest.fixture
def music(trained: Trained, tmp_path: Path) -> Path:
    """Songs of its own, two with an artist in a tag, beside files that are none."""
    folder = tmp_path / "music"
    shutil.copytree(trained.music, folder)
    tag_artists(folder)
    return folder


def tag_artists(folder: Path) -> None:
    for name, artist in (("blues/1.flac", "Ann"), ("metal/1.flac", "Bob")):
        samples, rate = soundfile.read(folder / name)
        with soundfile.SoundFile(folder / name, "w", rate, samples.shape[1]) as file:
            file.artist = artist
            file.write(samples)


@pytest.fixture(scope="module")
def indexed(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A run with a library, for tests that leave both alone, and the music in it."""
    folder = tmp_path_factory.mktemp("indexed")
    shutil.copytree(trained.run.path, folder / "run")
    shutil.copytree(trained.music, folder / "music")
    tag_artists(folder / "music")
    run, predictor = RunDirectory(folder / "run"), GenrePredictor.of_run(folder / "run")
    entries = indexing.entries_of_folders([str(folder / "music")], None, print)
    describe = indexing.describe_file(predictor)
    indexing.update(folder / "run/library", run, predictor, entries=entries, describe=describe, say=print)
    return str(folder / "run"), folder / "music"
