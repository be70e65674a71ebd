from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from genreclf.datasets.base import Track
from genreclf.datasets.synthetic import Synthetic
from genreclf.datasets.synthetic.instruments import INSTRUMENTS
from genreclf.datasets.synthetic.score import draw_artist, draw_song
from genreclf.datasets.synthetic.styles import CHORDS, SCALES, STYLES
from genreclf.errors import UserError

SAMPLE_RATE = 22050
HOP_SAMPLES = 256
Tracks = dict[str, list[tuple[Track, NDArray[np.float32]]]]


@pytest.fixture(scope="module")
def tracks() -> Tracks:
    """Six tracks of 8 s by three artists of each genre."""
    source = Synthetic(tracks_per_genre=6, artists_per_genre=3, duration_s=8.0)
    found: Tracks = {}
    for track in source.tracks():
        found.setdefault(track.genre, []).append((track, source.waveform(track, SAMPLE_RATE)))
    return found


def magnitudes(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 1024)[::HOP_SAMPLES]
    return np.abs(np.fft.rfft(frames * np.hanning(1024)))


def beat_strengths(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the autocorrelation of the onsets, 1 at no lag, a value every `HOP_SAMPLES`."""
    level = np.log(magnitudes(waveform) + 1e-2)
    onsets = np.maximum(0, np.diff(level, axis=0)).sum(axis=1)
    onsets -= onsets.mean()
    lags = np.correlate(onsets, onsets, "full")[len(onsets) - 1 :]
    return lags / lags[0]


def strongest_lag_s(waveform: NDArray[np.float32], low_s: float, high_s: float) -> float:
    lags = beat_strengths(waveform)
    low, high = (round(lag_s * SAMPLE_RATE / HOP_SAMPLES) for lag_s in (low_s, high_s))
    return float((low + np.argmax(lags[low:high])) * HOP_SAMPLES / SAMPLE_RATE)


def spectrum_db(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the average spectrum in 24 bands, without its overall level."""
    power = np.mean(magnitudes(waveform) ** 2, axis=0)
    edges = np.unique(np.geomspace(2, len(power), 25).astype(int))
    bands = 10 * np.log10([power[low:high].mean() for low, high in pairwise(edges)])
    return bands - bands.mean()


def test_lists_every_track_with_its_artist() -> None:
    found = Synthetic(tracks_per_genre=4, artists_per_genre=3, duration_s=2.5).tracks()
    assert [track.id for track in found] == sorted(track.id for track in found)
    assert len(found) == len({track.id for track in found}) == 40
    fourth = found[3]
    assert (fourth.id, fourth.genre, fourth.artist, fourth.group) == (
        "blues/00003",
        "blues",
        "blues-artist-0",
        "blues-artist-0",
    )
    assert fourth.duration_s == 2.5
    assert not fourth.path.exists()
    assert fourth.path.parts[-2:] == ("blues", "00003")
    genres = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]
    assert sorted({track.genre for track in found}) == genres


def test_fingerprint_follows_the_sound() -> None:
    def first(**changed: float) -> str:
        options = {"tracks_per_genre": 4, "artists_per_genre": 2, "duration_s": 2.0, "seed": 0} | changed
        return Synthetic(**options).tracks()[2].fingerprint  # type: ignore[arg-type]

    assert first() == first(tracks_per_genre=9)
    assert len({first(), first(seed=1), first(duration_s=3.0), first(artists_per_genre=3)}) == 4


def test_same_numbers_same_bytes() -> None:
    source = Synthetic(duration_s=2.0)
    one, other = source.tracks()[0], source.tracks()[77]
    before = source.waveform(one, SAMPLE_RATE).tobytes()
    source.waveform(other, SAMPLE_RATE)
    assert source.waveform(one, SAMPLE_RATE).tobytes() == before
    again = Synthetic(duration_s=2.0, tracks_per_genre=30)
    assert again.waveform(again.tracks()[0], SAMPLE_RATE).tobytes() == before
    assert source.waveform(other, SAMPLE_RATE).tobytes() != before
    changed = Synthetic(duration_s=2.0, seed=1)
    assert changed.waveform(changed.tracks()[0], SAMPLE_RATE).tobytes() != before


def test_another_name_of_a_genre_leaves_the_music_as_it_is() -> None:
    source = Synthetic(duration_s=2.0)
    track = source.tracks()[0]
    renamed = replace(track, genre="rap")
    assert source.waveform(renamed, SAMPLE_RATE).tobytes() == source.waveform(track, SAMPLE_RATE).tobytes()


def test_threads_and_the_global_random_state_change_nothing() -> None:
    source = Synthetic(duration_s=2.0)
    some = source.tracks()[::25]
    state = np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr]
    alone = [source.waveform(track, SAMPLE_RATE).tobytes() for track in some]
    assert np.random.get_state()[1].tobytes() == state  # type: ignore[index, union-attr]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda track: source.waveform(track, SAMPLE_RATE).tobytes(), some))
    assert together == alone
    assert len(set(alone)) == len(alone)


def test_waveforms_are_sound(tracks: Tracks) -> None:
    for track, waveform in (pair for pairs in tracks.values() for pair in pairs):
        assert waveform.dtype == np.float32
        assert waveform.shape == (8 * SAMPLE_RATE,)
        assert np.isfinite(waveform).all()
        assert 0.25 < np.abs(waveform).max() <= 1, track.id
        assert abs(float(waveform.mean())) < 0.01
        quiet = np.abs(waveform[: len(waveform) // 40 * 40].reshape(40, -1)).max(axis=1) < 1e-4
        assert not quiet.any(), f"{track.id} has a gap"


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
def test_music_is_the_same_at_every_sample_rate(tracks: Tracks, sample_rate: int) -> None:
    source = Synthetic(tracks_per_genre=6, artists_per_genre=3, duration_s=8.0)
    track, expected = tracks["country"][1]
    waveform = source.waveform(track, sample_rate)
    assert waveform.shape == (8 * sample_rate,)

    def loudness(samples: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.log(np.sqrt(np.mean(samples.astype(np.float64).reshape(80, -1) ** 2, axis=1)))

    assert np.corrcoef(loudness(waveform), loudness(expected))[0, 1] > 0.95


@pytest.mark.parametrize("duration_s", [1, 1.2345, 3.3])
def test_any_duration(duration_s: float) -> None:
    source = Synthetic(tracks_per_genre=1, artists_per_genre=1, duration_s=duration_s)
    for track in source.tracks():
        waveform = source.waveform(track, 11025)
        assert len(waveform) == round(duration_s * 11025)
        assert np.isfinite(waveform).all()


@pytest.mark.parametrize(("seed", "id"), [(3, "disco/00013"), (5, "country/00003")])
def test_a_melody_may_have_no_notes(seed: int, id: str) -> None:
    source = Synthetic(duration_s=2.0, seed=seed)
    track = next(track for track in source.tracks() if track.id == id)
    assert np.abs(source.waveform(track, 8000)).max() > 0.25


def test_artists_have_a_sound_of_their_own(tracks: Tracks) -> None:
    same, different = [], []
    for pairs in tracks.values():
        known = [(track.artist, spectrum_db(waveform)) for track, waveform in pairs]
        for (artist, one), (other_artist, other) in combinations(known, 2):
            (same if artist == other_artist else different).append(np.sqrt(np.mean((one - other) ** 2)))
    assert np.mean(same) < 0.8 * np.mean(different)


def test_disco_beats_in_its_tempo_range(tracks: Tracks) -> None:
    low_bpm, high_bpm = STYLES["disco"].tempo_bpm
    beats_s = [strongest_lag_s(waveform, 0.35, 0.7) for _, waveform in tracks["disco"]]
    inside = [60 / high_bpm - 0.02 < beat_s < 60 / low_bpm + 0.02 for beat_s in beats_s]
    assert sum(inside) >= 5, beats_s


def test_classical_has_no_beat_like_disco(tracks: Tracks) -> None:
    def strength(genre: str) -> float:
        frames = slice(round(0.35 * SAMPLE_RATE / HOP_SAMPLES), round(SAMPLE_RATE / HOP_SAMPLES))
        return float(np.median([beat_strengths(waveform)[frames].max() for _, waveform in tracks[genre]]))

    assert strength("classical") < 0.85 * strength("disco")


def test_classical_is_the_most_dynamic(tracks: Tracks) -> None:
    def swing_db(genre: str) -> float:
        seconds = [waveform.reshape(8, -1) for _, waveform in tracks[genre]]
        return float(np.median([20 * np.log10(np.ptp(np.sqrt(np.mean(x**2, axis=1))) / x.std()) for x in seconds]))

    assert max(tracks, key=swing_db) == "classical"


def test_reggae_chords_fall_between_the_beats() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        events, _ = draw_song(draw_artist(STYLES["reggae"], rng), 12.0, rng)
        kicks = np.array([event.start_s for event in events if event.drum == "kick"])
        chords = np.array([event.start_s for event in events if event.bus == 2 and event.gain > 0.78])
        if len(chords):
            assert np.min(np.abs(chords[:, None] - kicks), axis=1).min() > 0.1


def test_genres_overlap_in_tempo_and_instruments() -> None:
    for name, style in STYLES.items():
        others = [other for other_name, other in STYLES.items() if other_name != name]
        assert sum(o.tempo_bpm[0] < style.tempo_bpm[1] and style.tempo_bpm[0] < o.tempo_bpm[1] for o in others) >= 4
        assert any(set(style.comp.split()) & set(o.comp.split()) for o in others)


def test_styles_are_whole() -> None:
    for style in STYLES.values():
        assert style.scale in SCALES
        assert set(f"{style.bass} {style.comp} {style.lead}".split()) <= set(INSTRUMENTS)
        assert {chord.split(":")[1] for line in style.progressions for chord in line.split()} <= set(CHORDS)
        for groove in style.grooves:
            lengths = {len(part) for part in (groove.kick, groove.snare, groove.hat, groove.bass, groove.comp)}
            assert lengths in ({16}, {12})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tracks_per_genre": 0}, "data.tracks_per_genre"),
        ({"artists_per_genre": -1}, "data.artists_per_genre"),
        ({"tracks_per_genre": 4, "artists_per_genre": 5}, "data.artists_per_genre=5"),
        ({"duration_s": 0.0}, "data.duration_s"),
        ({"duration_s": float("nan")}, "data.duration_s"),
        ({"duration_s": float("inf")}, "data.duration_s"),
        ({"seed": -3}, "data.seed"),
    ],
)
def test_impossible_numbers_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Synthetic(**options)  # type: ignore[arg-type]


def test_the_source_touches_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = Synthetic(tracks_per_genre=1, artists_per_genre=1, duration_s=1.0)
    source.waveform(source.tracks()[0], 8000)
    assert list(tmp_path.iterdir()) == []
