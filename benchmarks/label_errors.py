"""Measure how many wrong labels `audit` finds: move some tracks to another genre, train folds on them, and count.

    python -m benchmarks.label_errors pictures/data/spectrograms --artists index.txt

A seed decides which tracks are moved. Five folds that keep artists apart are trained with model=svm, so that each track
is judged by a run that was not trained on it. Labels of other tracks that `audit` doubts may be wrong as well, since
GTZAN has wrong labels of its own. The printed precision is therefore a lower bound.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from genreclf.audit.labels import Suspect, label_suspects, read_out_of_fold
from genreclf.errors import UserError
from genreclf.evaluation.intervals import wilson_interval
from genreclf.reports.tables import Table, percent, span
from genreclf.splits.rules import draw

TRAINING = (
    "sweep=folds",
    "model=svm",
    "data.clip_seconds=whole",
    "hydra/launcher=together",
    "trainer=cpu",
    "logger=none",
)


def main() -> None:
    """Print how many of the moved tracks are doubted, and how many of the doubted tracks were moved."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("root", type=Path, help="folder with a folder of pictures per genre")
    words.add_argument("--artists", type=Path, required=True, help="their artists, as in data.artists")
    words.add_argument("--errors", type=int, default=50, help="how many tracks are moved")
    words.add_argument("--seed", type=int, default=0, help="draws them")
    words.add_argument("--out", type=Path, default=Path("outputs/label-errors"), help="folder for all of it")
    asked = words.parse_args()
    try:
        out = asked.out / f"{asked.errors}-errors-seed-{asked.seed}"
        moved = plant(asked.root, out / "pictures", asked.errors, asked.seed)
        data = ("data=spectrogram_images", f"data.root={out / 'pictures'}", f"data.artists={asked.artists}")
        sweep = [f"hydra.sweep.dir={out / 'folds'}", *TRAINING, "data.rendering=librosa_peak80", *data]
        subprocess.run([sys.executable, "-m", "genreclf", "-m", *sweep], check=True)
        predictions = read_out_of_fold(map(str, out.glob("folds/fold-*")))
    except UserError as error:
        words.error(str(error))
    genres = [predictions.genres[target] for target in predictions.targets]
    suspects = label_suspects(predictions, dict(zip(predictions.track_ids, genres, strict=True)))
    print(table(suspects, moved, len(genres)).markdown())


def plant(root: Path, out: Path, errors: int, seed: int) -> set[str]:
    """Link all images of the genre folders into `out`, some of them under another genre; return the IDs of those.

    Raises:
        UserError: There are fewer than two genres, or fewer images than `errors`.
    """
    files = sorted(root.glob("*/*.png"), key=lambda path: draw(seed, path.name))
    genres = sorted({path.parent.name for path in files})
    if len(genres) < 2 or len(files) < errors:
        raise UserError(f"{root} holds {len(files)} pictures of {len(genres)} genres: too few to move {errors}.")
    moved = set()
    for number, path in enumerate(files):
        genre = path.parent.name
        if number < errors:
            others = [name for name in genres if name != genre]
            genre = min(others, key=lambda name: draw(seed, path.name, name))
            moved.add(f"{genre}/{path.stem}")
        (out / genre).mkdir(parents=True, exist_ok=True)
        if not (link := out / genre / path.name).exists():
            link.symlink_to(path.resolve())
    return moved


def table(suspects: Sequence[Suspect], moved: set[str], n_tracks: int) -> Table:
    """Return precision and recall for all doubted tracks, and for as many of the most doubtful as were moved."""
    rows = []
    for name, chosen in (("all", suspects), (f"the {len(moved)} most doubtful", suspects[: len(moved)])):
        hits = sum(suspect.track in moved for suspect in chosen)
        precision, recall = (span(*wilson_interval(hits, n)) for n in (len(chosen), len(moved)))
        rows.append(
            (
                name,
                f"{len(chosen)} of {n_tracks}",
                str(hits),
                f"{percent(hits / max(1, len(chosen)))} ({precision})",
                f"{percent(hits / len(moved))} ({recall})",
            )
        )
    header = ("doubted", "tracks", "of them moved", "precision at least (%)", "recall (%)")
    return Table(header=header, cells=rows)


if __name__ == "__main__":
    main()
