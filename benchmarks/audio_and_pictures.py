"""Check whether a run trained on images predicts the same genres from audio as from images of the same songs.

``python -m benchmarks.audio_and_pictures RUN SONGS [data.root=PICTURES]``: SONGS holds audio files with the
same names as the images, such as GTZAN's ``genres_original``; the images are those of RUN's own dataset.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from genreclf.cli.compose import load_corpus_for
from genreclf.inference.listing import audio_files
from genreclf.inference.predictor import GenrePredictor
from genreclf.run_directory import RunDirectory


def compared(run: Path, songs: Path, overrides: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the genres predicted from the image and from the audio, by track ID, for each song that has both."""
    predictor = GenrePredictor.of_run(run)
    corpus = load_corpus_for(predictor.spec, RunDirectory(run), overrides, device=predictor.device)
    track_of = {name.rpartition("/")[2]: name for name in corpus.store.lengths_frames}
    found = {}
    for path, _ in audio_files([str(songs)]):
        if (name := track_of.get(path.stem)) is not None:
            shares, _ = predictor.describe(torch.from_numpy(corpus.store.spectrogram(name).T))
            found[name] = predictor.genres[int(shares.argmax())], predictor.predict(path).genre
    return found


def main() -> None:
    """Print the songs with different predictions, and how many predictions agree."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("run", type=Path, metavar="RUN")
    words.add_argument("songs", type=Path, metavar="SONGS")
    words.add_argument("overrides", nargs="*", metavar="data.root=PICTURES")
    asked = words.parse_args()
    found = compared(asked.run, asked.songs, asked.overrides)
    for name, (picture, audio) in found.items():
        if picture != audio:
            print(f"{name}: {picture} in the picture, {audio} in the audio")
    print(f"{sum(picture == audio for picture, audio in found.values())} of {len(found)} have the same genre.")


if __name__ == "__main__":
    main()
