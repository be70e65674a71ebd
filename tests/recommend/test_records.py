"""The songs of a library on disk."""

from pathlib import Path

import numpy as np

from genreclf.recommend.records import Records, Song


def test_songs_are_spread_evenly(tmp_path: Path) -> None:
    songs = [
        Song(
            id=0,
            origin="/music",
            name=f"{number}.flac",
            path=Path(f"/music/{number}.flac"),
            fingerprint="1",
            artist=None,
            genre="jazz",
            probabilities=np.ones(1),
            duration_s=1.0,
            embedding=np.ones(8, dtype=np.float32),
        )
        for number in range(60)
    ]
    records = Records(tmp_path / "songs.sqlite", ("jazz",))
    records.change(add=songs)
    assert [song.id for song in records.spread(4)] == [1, 21, 40, 60]
    assert len(records.spread(1000)) == 60
