"""Compose the songs of the synthetic artists, as lists of sounds with times, pitches and gains.

Genres differ in what is played: meter, groove, tempo, harmony, melody, dynamics and the available instruments.
Artists differ in how it sounds: instruments, drum kit, balance, equalizer, room and noise floor. Equalizer, kit tuning,
room and noise are drawn from the same distribution for all genres; only the instruments and their balance depend on it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from genreclf.datasets.synthetic.instruments import INSTRUMENTS, Instrument
from genreclf.datasets.synthetic.styles import CHORDS, SCALES, Groove, Style
from genreclf.datasets.synthetic.synthesis import BUSES, EQ_HZ, Event, Mix

_Choice = TypeVar("_Choice")
_ACCENTS = {"X": 1.0, "O": 0.9, "x": 0.7, "a": 0.7, "o": 0.35}


@dataclass(frozen=True)
class Artist:
    """A synthetic artist, defined by what all tracks of the artist have in common."""

    style: Style
    """Style of the artist's genre."""
    tempo_bpm: float
    """Preferred tempo in beats per minute."""
    key: int
    """Preferred key, in semitones above C."""
    swing: float
    """Delay of the off-beat eighth note, as a fraction of an eighth note; 0 is straight and 1/3 is triplet swing."""
    grooves: tuple[Groove, ...]
    """Grooves of the style that the artist plays."""
    jitter_s: float
    """Standard deviation of the note onsets, in seconds."""
    mix: Mix
    """Sound of the artist's songs."""


def draw_artist(style: Style, rng: Generator) -> Artist:
    """Draw a random artist who plays `style`."""
    octaves = np.arange(len(EQ_HZ)) - len(EQ_HZ) / 2
    eq_db = rng.normal(0, 1.8, len(EQ_HZ)) + rng.normal(0, 0.4) * octaves
    order = rng.permutation(len(style.grooves))
    return Artist(
        style=style,
        tempo_bpm=rng.uniform(*style.tempo_bpm),
        key=int(rng.integers(12)),
        swing=rng.uniform(*style.swing),
        grooves=tuple(style.grooves[i] for i in order[: (len(order) + 1) // 2]),
        jitter_s=rng.uniform(0.001, 0.012),
        mix=Mix(
            instruments=(_instrument(style.bass, rng), _instrument(style.comp, rng), _instrument(style.lead, rng)),
            snare=_one_of(style.snares.split(), rng),
            hat=_one_of(style.hats.split(), rng),
            kick_hz=rng.uniform(42, 75),
            snare_hz=rng.uniform(140, 260),
            hat_hz=rng.uniform(4500, 9000),
            damping=rng.uniform(0.6, 1.6),
            balance_db=tuple(style.balance_db + rng.normal(0, 1.6, len(BUSES))),
            eq_db=tuple(eq_db),
            reverb_s=rng.uniform(0.1, 0.5),
            reverb=rng.uniform(0.02, 0.4),
            noise_db=rng.uniform(-64, -46),
            saturation=rng.uniform(0.2, 1.2),
            swell_db=rng.uniform(*style.swell_db),
            swell_s=rng.uniform(4.0, 9.0),
            swell_start=0.0,
            peak=rng.uniform(0.3, 0.95),
        ),
    )


def draw_song(artist: Artist, duration_s: float, rng: Generator) -> tuple[list[Event], Mix]:
    """Return the sounds of a song of `duration_s` seconds, and its mix, a variation of the artist's usual mix."""
    style, usual = artist.style, artist.mix
    names = (style.bass, style.comp, style.lead)
    bass, comp, lead = (
        _instrument(choice, rng) if rng.random() < 0.3 else own
        for choice, own in zip(names, usual.instruments, strict=True)
    )
    mix = replace(
        usual,
        instruments=(bass, comp, lead),
        balance_db=tuple(usual.balance_db + rng.normal(0, 1.5, len(BUSES))),
        eq_db=tuple(usual.eq_db + rng.normal(0, 1.0, len(EQ_HZ))),
        swell_start=rng.random(),
    )
    clock = _Clock(
        tempo_bpm=float(np.clip(artist.tempo_bpm * rng.lognormal(0, 0.08), *style.tempo_bpm)),
        swing=artist.swing,
        rubato_s=rng.uniform(*style.rubato_s),
        period_s=rng.uniform(4.0, 9.0),
    )
    key = artist.key if rng.random() < 0.5 else int(rng.integers(12))
    played = [
        replace(
            event,
            start_s=max(0.0, event.start_s + rng.normal(0, artist.jitter_s)),
            gain=event.gain * rng.uniform(0.8, 1.1),
        )
        for event in _play_bars(style, _one_of(artist.grooves, rng), clock, key, mix.instruments, duration_s, rng)
    ]
    return played, mix


def _play_bars(
    style: Style,
    groove: Groove,
    clock: "_Clock",
    key: int,
    instruments: tuple[Instrument, Instrument, Instrument],
    duration_s: float,
    rng: Generator,
) -> Iterator[Event]:
    """Yield the sounds of a song, bar by bar, until `duration_s` is reached."""
    bass, comp, lead = instruments
    chords = [chord.split(":") for chord in _one_of(style.progressions, rng).split()]
    turn = int(rng.integers(len(chords)))
    bar_steps = len(groove.bass)
    melody = [_melody(style, bar_steps, rng) for _ in range(2)]
    drums = rng.random() < style.drums
    bar = 0
    while clock.seconds(bar * bar_steps) < duration_s:
        shift, kind = chords[(turn + bar) % len(chords)]
        root = int(shift) + key
        first_step = bar * bar_steps
        if drums:
            fill = bar % 4 == 3 and rng.random() < 0.5
            for drum, pattern in (("kick", groove.kick), ("snare", groove.snare), ("hat", groove.hat)):
                for step, _, mark in _hits(pattern[:-4] + "xxxX" if fill and drum == "snare" else pattern):
                    sound = "open" if mark == "O" else drum
                    yield Event(clock.seconds(first_step + step), 0, sound, gain=_ACCENTS[mark])
        for step, steps, mark in _hits(groove.bass):
            start_s, length_s = clock.span(first_step + step, steps)
            pitch = bass.lowest + root % 12 + _bass_degree(mark, step, CHORDS[kind], rng)
            yield Event(start_s, 1, pitch=pitch, length_s=length_s)
        voicing = _voicing(comp, root, CHORDS[kind])
        for count, (step, steps, mark) in enumerate(_hits(groove.comp)):
            start_s, length_s = clock.span(first_step + step, steps)
            climb = voicing + voicing[-2:0:-1]
            for i, pitch in enumerate([climb[count % len(climb)]] if mark == "a" else voicing):
                strum_s = i * comp.strum_s
                yield Event(start_s + strum_s, 2, pitch=pitch, length_s=length_s, gain=_ACCENTS[mark])
        if rng.random() < 0.85:
            for step, steps, semitones in melody[bar % 2]:
                start_s, length_s = clock.span(first_step + step, steps)
                yield Event(start_s, 3, pitch=lead.lowest + key + semitones, length_s=length_s)
        bar += 1


def _hits(pattern: str) -> Iterator[tuple[int, int, str]]:
    """Yield the step, the length in steps and the character of every hit in a pattern of a `Groove`."""
    for step, mark in enumerate(pattern):
        if mark not in ".-":
            rest = pattern[step + 1 :]
            yield step, 1 + len(rest) - len(rest.lstrip("-")), mark


def _bass_degree(mark: str, step: int, chord: Sequence[int], rng: Generator) -> int:
    """Return the bass note in semitones above the root; a walking bass (``w``) moves from it through nearby tones."""
    if mark == "w":
        return _one_of((*chord, chord[1] - 1, 9, 11), rng) if step else 0
    return {"1": 0, "3": chord[1], "5": 7, "6": 9, "8": 12}[mark]


def _voicing(instrument: Instrument, root: int, chord: Sequence[int]) -> list[int]:
    """Return the pitches of a chord in an instrument's register; distorted instruments play root, fifth and octave."""
    lowest = instrument.lowest
    if instrument.drive > 1:
        return [lowest + (root - lowest) % 12 + tone for tone in (0, 7, 12)]
    return sorted(lowest + (root + tone - lowest) % 12 for tone in chord)


def _melody(style: Style, bar_steps: int, rng: Generator) -> list[tuple[int, int, int]]:
    """Return one bar of melody; each note is a step, a length in steps, and a pitch in semitones above the key."""
    scale = SCALES[style.scale]
    likely = [1.6 if step % 4 == 0 else 1.1 if step % 2 == 0 else 0.5 for step in range(bar_steps)]
    onsets = [step for step in range(bar_steps) if rng.random() < style.density * likely[step]]
    degree, notes = float(rng.integers(len(scale))), []
    for step, following in zip(onsets, [*onsets, bar_steps][1:], strict=True):
        octave, place = divmod(round(degree), len(scale))
        notes.append((step, min(following - step, 6), 12 * octave + scale[place]))
        degree = float(np.clip(degree + rng.normal(0, style.leap), -2, 10))
    return notes


class _Clock:
    """Convert sixteenth-note steps of a song to seconds, with swing and rubato."""

    def __init__(self, *, tempo_bpm: float, swing: float, rubato_s: float, period_s: float) -> None:
        self._beat_s = 60 / tempo_bpm
        self._swing = swing
        self._rubato_s = rubato_s
        self._period_s = period_s

    def seconds(self, step: int) -> float:
        beat, sixteenth = divmod(step, 4)
        late = self._swing * (sixteenth if sixteenth < 2 else 4 - sixteenth) / 4
        even_s = (beat + sixteenth / 4 + late) * self._beat_s
        return even_s + self._rubato_s * float(np.sin(2 * np.pi * even_s / self._period_s))

    def span(self, step: int, steps: int) -> tuple[float, float]:
        """Return the start and the length in seconds of a note of `steps` steps that starts at `step`."""
        start_s = self.seconds(step)
        return start_s, self.seconds(step + steps) - start_s


def _one_of(choices: Sequence[_Choice], rng: Generator) -> _Choice:
    return choices[int(rng.integers(len(choices)))]


def _instrument(names: str, rng: Generator) -> Instrument:
    """Return a randomly chosen instrument from `names`, with randomly varied sound parameters."""
    model = INSTRUMENTS[_one_of(names.split(), rng)]
    return replace(
        model,
        slope=model.slope * rng.uniform(0.8, 1.25),
        even=min(1.0, model.even * rng.uniform(0.6, 1.2)),
        decay_s=model.decay_s * rng.uniform(0.6, 1.6),
        fade_s=model.fade_s * rng.uniform(0.6, 1.6),
        formants_hz=tuple(hz * rng.uniform(0.8, 1.25) for hz in model.formants_hz),
        drive=model.drive * rng.uniform(0.6, 1.5),
    )
