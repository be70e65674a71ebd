"""Write the findings: a report, a table of all tracks, a table of repeats, and a file of artists."""

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from genreclf.audit.artists import artist_file
from genreclf.audit.findings import Findings, artists_in
from genreclf.audit.repeats import THRESHOLD, Repeat
from genreclf.datasets.base import Track
from genreclf.reports.rendering import render
from genreclf.reports.tables import Column, Table, csv_text
from genreclf.run_directory import atomic_write_text, sentence_when_full
from genreclf.splits.base import SUBSET_NAMES

ROWS = 40
"""Maximum number of rows of a table in the report; the CSV files hold all rows."""


def write_audit(directory: Path, findings: Findings) -> list[Path]:
    """Write all files into a folder and return their paths, the report first.

    Args:
        directory: Folder for the files, which is created if needed.
        findings: Findings to write.

    Raises:
        OSError: The files cannot be written.
    """
    with sentence_when_full(directory):
        directory.mkdir(parents=True, exist_ok=True)
        texts = {
            "report.md": report(findings),
            "tracks.csv": csv_text(_track_columns(findings), findings.tracks),
            "repeats.csv": csv_text(_repeat_columns(findings), findings.repeats),
            "artists.csv": artist_file(findings.tracks, findings.repeat_sets, findings.joint, findings.spellings),
        }
        for name, text in texts.items():
            atomic_write_text(directory / name, text)
    return [directory / name for name in texts]


def report(findings: Findings) -> str:
    """Return the report of the findings in Markdown."""
    found, missed = findings.known_repeats
    return render(
        "audit.md",
        name=findings.name,
        warnings=findings.warnings,
        summary=Table(header=("finding", "number"), cells=summary(findings)),
        genres=_genres(findings),
        repeats=Table.of(_repeat_columns(findings), findings.repeats[:ROWS]),
        threshold=THRESHOLD,
        conflicts=[_named(findings, same) for same in findings.repeats_of_several_genres[:ROWS]],
        known=len(found) + len(missed),
        known_found=len(found),
        known_missed=[" and ".join(pair) for pair in missed],
        split=findings.split,
        split_problem=findings.split_problem,
        shared=_shared(findings),
        joint=[f"{credit.credit}: {'; '.join(credit.parts)}" for credit in findings.joint[:ROWS]],
        spellings=["; ".join(names) for names in findings.spellings[:ROWS]],
        sound=Table(
            header=("track", "finding"),
            cells=[(track, ", ".join(flags)) for track, flags in sorted(findings.flags.items())[:ROWS]],
            words=2,
        ),
        is_audio=findings.is_audio,
        unreadable=sorted(findings.unreadable.items()),
        suspects=_suspects(findings),
        predicted=findings.predicted,
        runs=findings.runs,
        rows=ROWS,
    )


def summary(findings: Findings) -> list[tuple[str, str]]:
    """Return the rows (finding, number) of the summary table."""
    exact = sum(repeat.exact for repeat in findings.repeats)
    lines: list[tuple[str, Any]] = [
        ("tracks", len(findings.tracks)),
        ("tracks that cannot be read", len(findings.unreadable)),
        ("tracks of unknown artist", sum(not track.artist for track in findings.tracks)),
        ("pairs of exact repeats", exact),
        ("pairs of near repeats", len(findings.repeats) - exact),
        ("sets of repeats with different genres", len(findings.repeats_of_several_genres)),
    ]
    if findings.split is not None:
        lines += [
            (f"artists in several subsets of split={findings.split.name}", len(findings.shared_artists)),
            (f"sets of repeats in several subsets of split={findings.split.name}", len(findings.shared_repeats)),
        ]
    lines += [
        ("joint credits without a semicolon", len(findings.joint)),
        ("artists in several spellings", len(findings.spellings)),
        ("tracks with conspicuous sound", len(findings.flags)),
    ]
    if findings.suspects is not None:
        lines.append(("tracks whose genre may be wrong", len(findings.suspects)))
    return [(name, str(number)) for name, number in lines]


def _genres(findings: Findings) -> Table:
    unit = "Hz" if findings.is_audio else "mel band"
    cells = []
    repeated = {track for same in findings.repeat_sets for track in same}
    for genre in sorted({track.genre for track in findings.tracks}):
        tracks = [track for track in findings.tracks if track.genre == genre]
        sounds = [findings.sounds[track.id] for track in tracks if track.id in findings.sounds]
        middle = (
            (f"{median(s.duration_s for s in sounds):.1f}", f"{median(s.band_edge for s in sounds):.0f}")
            if sounds
            else ("n/a", "n/a")
        )
        counts = (len(tracks), artists_in(tracks), sum(track.id in repeated for track in tracks))
        odd = sum(track.id in findings.flags for track in tracks)
        cells.append((genre, *map(str, counts), *middle, str(odd)))
    header = ("genre", "tracks", "artists", "repeated", "median length (s)", f"median band edge ({unit})", "odd sound")
    return Table(header=header, cells=cells)


def _shared(findings: Findings) -> Table:
    cells = [
        (one.name, kind, *(str(one.tracks.get(subset, 0)) for subset in SUBSET_NAMES))
        for kind, shared in (("repeats", findings.shared_repeats), ("artist", findings.shared_artists))
        for one in shared
    ]
    return Table(header=("in several subsets", "what", *SUBSET_NAMES.values()), cells=cells[:ROWS], words=2)


def _suspects(findings: Findings) -> Table:
    cells = [
        (one.track, one.genre, one.other, f"{one.probability:.2f}", f"{one.other_probability:.2f}")
        for one in (findings.suspects or ())[:ROWS]
    ]
    return Table(header=("track", "genre", "predicted", "probability", "of the predicted"), cells=cells, words=3)


def _named(findings: Findings, tracks: Iterable[str]) -> str:
    return ", ".join(f"{track} ({findings.by_id[track].genre})" for track in tracks)


def _repeat_columns(findings: Findings) -> list[Column[Repeat]]:
    def of_tracks(key: str, value: Callable[[str], Any]) -> list[Column[Repeat]]:
        return [
            Column(f"{key}_first", lambda repeat: value(repeat.tracks[0])),
            Column(f"{key}_second", lambda repeat: value(repeat.tracks[1])),
        ]

    return [
        Column("first", lambda repeat: repeat.tracks[0], "first", lambda repeat: repeat.tracks[0], words=True),
        Column("second", lambda repeat: repeat.tracks[1], "second", lambda repeat: repeat.tracks[1], words=True),
        Column(
            "kind",
            lambda repeat: "exact" if repeat.exact else "near",
            "kind",
            lambda repeat: "exact" if repeat.exact else "near",
            words=True,
        ),
        Column("similarity", lambda repeat: repeat.similarity, "similarity", lambda r: f"{r.similarity:.3f}"),
        Column("shift_s", lambda repeat: repeat.shift_s, "shift (s)", lambda repeat: f"{repeat.shift_s:.1f}"),
        *of_tracks("genre", lambda track: findings.by_id[track].genre),
        *of_tracks("artist", lambda track: findings.by_id[track].artist),
        *of_tracks("subset", lambda track: findings.subset_of.get(track)),
    ]


def _track_columns(findings: Findings) -> list[Column[Track]]:
    repeats_of = {track: [other for other in same if other != track] for same in findings.repeat_sets for track in same}
    suspects = {suspect.track: suspect for suspect in findings.suspects or ()}

    def of_sound(key: str) -> Column[Track]:
        return Column(key, lambda track: getattr(findings.sounds.get(track.id), key, None))

    return [
        Column("track_id", lambda track: track.id),
        Column("genre", lambda track: track.genre),
        Column("artist", lambda track: track.artist),
        Column("subset", lambda track: findings.subset_of.get(track.id)),
        Column("unreadable", lambda track: findings.unreadable.get(track.id)),
        *map(of_sound, ("duration_s", "silence_s", "band_edge", "sample_rate", "channels", "stereo", "clipped")),
        Column("odd", lambda track: ", ".join(findings.flags.get(track.id, ())) or None),
        Column("repeats", lambda track: "; ".join(repeats_of.get(track.id, ())) or None),
        Column("found_instead", lambda track: suspects[track.id].other if track.id in suspects else None),
        Column("probability", lambda track: suspects[track.id].probability if track.id in suspects else None),
    ]
