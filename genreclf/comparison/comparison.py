"""Compare experiments in pairs on the same test tracks, and find recipes that were run with and without a leak."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from genreclf.comparison.experiments import Experiment, group_runs
from genreclf.comparison.naming import STARTS, recipe_of, shown, varying_keys
from genreclf.comparison.runs import FinishedRun, find_runs, read_track_list
from genreclf.comparison.significance import PairedTest, differ_in_artists, holm, paired_test
from genreclf.config.identity import digest
from genreclf.datasets.identity import artist_of, credited, read_artists
from genreclf.errors import UserError
from genreclf.evaluation.leaks import seen_before
from genreclf.evaluation.provenance import pretrained_words
from genreclf.experiment.lineage import Key, track_key
from genreclf.splits.base import some

DATASET_KEYS = ("data._target_", "data.root", "data.seed")
"""Keys of the settings that identify the dataset."""

NAMED = 4
"""Largest number of experiments that a sentence names; the rest are only counted."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pair:
    """Two experiments with the same test tracks, and the paired test of their difference."""

    first: Experiment
    """The experiment that is higher in the table."""
    second: Experiment
    """The experiment that is lower in the table."""
    test: PairedTest
    """Paired test of the two experiments."""
    p_holm: float
    """Holm-corrected p value of the test over tracks, for all tested pairs."""
    p_holm_artists: float | None
    """Holm-corrected p value of the test over artists, for all pairs tested over artists; None if this pair was not."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Leak:
    """Two experiments with the same recipe, one on a leaky split and one on an honest split."""

    leaky: Experiment
    honest: Experiment


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """The result of comparing runs."""

    experiments: tuple[Experiment, ...]
    """Compared experiments, in the order of `genreclf.comparison.experiments.group_runs`."""
    pairs: tuple[Pair, ...]
    """All pairs of experiments with the same test tracks."""
    leaks: tuple[Leak, ...]
    """All pairs of experiments that show a recipe with and without a leak."""
    refusals: tuple[str, ...]
    """Reasons why other pairs are not tested, one sentence for each two groups of experiments."""
    warnings: tuple[str, ...]
    """Further warnings for the reader, one sentence each."""
    unfinished: tuple[Path, ...]
    """Directories of the runs that are not finished."""

    @property
    def runs(self) -> list[FinishedRun]:
        """All runs of all experiments."""
        return [run for experiment in self.experiments for run in experiment.runs]


def compare(paths: Iterable[Path], artists: Path | None = None, without_tracks: Path | None = None) -> Comparison:
    """Compare the finished runs in the given folders.

    Args:
        paths: Run directories, or folders that contain runs.
        artists: File with the artists of the tracks, see `genreclf.datasets.identity.read_artists`; where it lists a
            track, it takes precedence over the artists that the runs recorded.
        without_tracks: File with test tracks to leave out, see `genreclf.comparison.runs.read_track_list`.

    Raises:
        UserError: A folder does not exist, no run is finished, a file is damaged, or a list does not fit the tracks.
    """
    finished, unfinished, without = find_runs(paths)
    runs, left_out = _without([FinishedRun.read(path) for path in finished], without_tracks)
    experiments, warnings = group_runs(runs, _artists(runs, artists))
    warnings = left_out + warnings
    classes: dict[str, list[Experiment]] = defaultdict(list)
    for experiment in experiments:
        classes[_test_of(experiment)].append(experiment)
    alike = [pair for members in classes.values() for pair in combinations(members, 2)]
    tests = [paired_test(first.scores, second.scores) for first, second in alike]
    warnings += [
        f"{first.name} and {second.name} list different artists for the same tracks: they are tested over tracks only."
        for first, second in alike
        if differ_in_artists(first.scores, second.scores)
    ]
    corrected = holm([test.p for test in tests])
    corrected_artists = iter(holm([test.p_artists for test in tests if test.p_artists is not None]))
    warnings += _pretraining(experiments)
    for members in classes.values():
        warnings += _doubts(members)
    if len(devices := {run.device for each in experiments for run in each.runs if run.device}) > 1:
        warnings.append(f"Times are not comparable: the runs had different devices ({', '.join(sorted(devices))}).")
    if unfinished:
        runs_are = "run is" if len(unfinished) == 1 else "runs are"
        warnings.append(f"{len(unfinished)} {runs_are} not finished and left out: {', '.join(map(str, unfinished))}.")
    if without:
        warnings.append(f"There is no run in {', '.join(map(str, without))}.")
    return Comparison(
        experiments=tuple(experiments),
        pairs=tuple(
            Pair(
                first=first,
                second=second,
                test=test,
                p_holm=p,
                p_holm_artists=None if test.p_artists is None else next(corrected_artists),
            )
            for (first, second), test, p in zip(alike, tests, corrected, strict=True)
        ),
        leaks=tuple(_leaks(experiments)),
        refusals=tuple(_refusal(*pair) for pair in combinations(classes.values(), 2)),
        warnings=tuple(warnings),
        unfinished=tuple(unfinished),
    )


def _without(runs: Sequence[FinishedRun], path: Path | None) -> tuple[Sequence[FinishedRun], list[str]]:
    """Leave out the test tracks that a file lists, and return the remaining runs and a note on how many were left out.

    Raises:
        UserError: The file cannot be read, lists none of the test tracks, or lists all test tracks of a run.
    """
    if path is None:
        return runs, []
    tested = {id for run in runs for id in run.tracks.track_ids}
    if not (listed := read_track_list(path, tested)):
        raise UserError(f"--without-tracks {path} lists none of the {len(tested)} test tracks: list their ids in it.")
    note = (
        f"{len(listed)} of {len(tested)} test tracks are left out, as {path} lists them; clip metrics are not computed."
    )
    return [run.without(listed) for run in runs], [note]


def _pretraining(experiments: Sequence[Experiment]) -> list[str]:
    """Return a note on each pretrained encoder, with the experiments that use it unless all of them do."""
    users: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        for words in dict.fromkeys(pretrained_words(run.metrics) for run in experiment.runs):
            users.setdefault(words, []).append(experiment)
    users.pop("", None)
    return [
        f"PRETRAINED: {words}" + (f" ({_listed(members)})." if len(members) < len(experiments) else ".")
        for words, members in users.items()
    ]


def _artists(runs: Sequence[FinishedRun], path: Path | None) -> dict[Key, Sequence[str]]:
    """Return the known artists of all tracks, from the file if it lists the track, otherwise from any of the runs."""
    known = {track_key(run.dataset, id): names for run in runs for id, names in run.artists.items()}
    if path is None:
        return known
    listed = read_artists(path, option="--artists ")
    keys = {track_key(run.dataset, id): id for run in runs for id in run.tracks.track_ids}
    named = {key: names for key, id in keys.items() if (names := credited(artist_of(id, listed)))}
    if not named:
        raise UserError(f"--artists {path} has no artist for any of the {len(keys)} test tracks: choose their file.")
    return {**known, **named}


def _test_of(experiment: Experiment) -> str:
    """Return a key that is shared by experiments with the same test tracks and, if they are leaky, the same leak."""
    segments = {"segments": experiment.split_hashes, "seen": _seen(experiment)} if experiment.leaky else {}
    return digest({"tracks": sorted(experiment.genre_of.items()), "leaky": experiment.leaky, **segments})


def _seen(experiment: Experiment) -> list[str]:
    """Return a phrase for each run that has seen some of its test tracks before, with their number."""
    return sorted(filter(None, (seen_before(run.metrics) for run in experiment.runs)))


def _leaks(experiments: Sequence[Experiment]) -> list[Leak]:
    """Pair each leaky experiment with the honest experiments of the same recipe."""
    return [
        Leak(leaky=leaky, honest=honest)
        for leaky in experiments
        for honest in experiments
        if leaky.leaky and not honest.leaky and recipe_of(leaky.settings) == recipe_of(honest.settings)
    ]


def _refusal(first: Sequence[Experiment], second: Sequence[Experiment]) -> str:
    """Return a sentence on why two groups of experiments are not tested against each other."""
    names = f"Not tested: {_listed(first)} against {_listed(second)}; "
    if first[0].leaky != second[0].leaky:
        leaky = (first if first[0].leaky else second)[0]
        what = f"the split {leaky.split} is LEAKY"
        if seen := _seen(leaky):
            what = f"{leaky.title} was tested on tracks that it has seen ({seen[0]})"
        return f"{names}{what}, so the difference would only show the leak."
    tracks, others = first[0].genre_of, second[0].genre_of
    if tracks == others and (_seen(first[0]) or _seen(second[0])):
        return f"{names}they have seen different numbers of their test tracks (LEAKY)."
    if tracks == others:
        return f"{names}their LEAKY splits cut the tracks into other segments ({_hashes(first)}; {_hashes(second)})."
    common = sorted(tracks.keys() & others.keys())
    if renamed := [track_id for track_id in common if tracks[track_id] != others[track_id]]:
        return f"{names}they disagree on the true genre of {len(renamed)} tracks, such as {renamed[0]}."
    return (
        f"{names}their test tracks differ ({len(tracks)} and {len(others)} tracks, {len(common)} in common; "
        f"split hashes {_hashes(first)}; {_hashes(second)})."
    )


def _doubts(members: Sequence[Experiment]) -> list[str]:
    """Return warnings about tests between experiments that have the same test tracks by name."""
    if len(members) < 2:
        return []
    warnings = []
    if len({experiment.split_hashes for experiment in members}) > 1:
        warnings.append(f"{_listed(members)} share their test tracks, but not their training and validation tracks.")
    warnings += _differing_beside_the_model(members)
    datasets = {" ".join(shown(experiment.settings, key) for key in DATASET_KEYS).strip() for experiment in members}
    if len(datasets) > 1:
        warnings.append(
            f"{_listed(members)} read tracks with the same names from different datasets "
            f"({'; '.join(sorted(datasets))}): tests between them are valid only if the music is the same."
        )
    return warnings


def _differing_beside_the_model(members: Sequence[Experiment]) -> list[str]:
    """Return a warning if experiments with different models also differ in settings outside the model; else nothing."""
    if len({shown(experiment.settings, "model._target_") for experiment in members}) < 2:
        return []
    recipes = [recipe_of(experiment.settings) for experiment in members]
    keys = [key for key in varying_keys(recipes) if not key.startswith(("model.", *STARTS))]
    if not keys:
        return []
    named = some(keys, NAMED)
    return [f"{_listed(members)} differ in more than the model ({named}): see the settings that differ."]


def _listed(experiments: Sequence[Experiment]) -> str:
    names = [experiment.title for experiment in experiments]
    more = len(names) - NAMED
    return "; ".join(names) if more <= 0 else f"{'; '.join(names[:NAMED])} and {more} more"


def _hashes(experiments: Sequence[Experiment]) -> str:
    return some(sorted({split_hash for experiment in experiments for split_hash in experiment.split_hashes}), NAMED)
