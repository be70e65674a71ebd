"""Synthesize the music of `genreclf.datasets.synthetic.Synthetic` (notes, drum kit, mix) in NumPy at any sample rate.

Methods: Notes are read from band-limited wavetables that fade from a bright to a mellow spectrum under an envelope
(Bristow-Johnson, "Wavetable Synthesis 101", AES 1996). Distortion is a waveshaper, which makes the notes of a chord
intermodulate (Le Brun, "Digital Waveshaping Synthesis", JAES 1979). The room consists of random reflections with an
exponential decay (Moorer, "About This Reverberation Business", CMJ 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from genreclf.datasets.synthetic.instruments import Instrument

Samples = NDArray[np.float32]

BUSES = ("drums", "bass", "comp", "lead")
"""Parts that are mixed; comp plays the chords."""

EQ_HZ = (50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)
"""Frequencies of the equalizer, in Hz."""

_TABLE_SAMPLES = 4096
_REFLECTIONS = 600


@dataclass(frozen=True)
class Event:
    """One sound: a drum, or a note with a pitch and a length."""

    start_s: float
    """Start time in seconds."""
    bus: int
    """Part of the mix that the sound belongs to, as an index of `BUSES`."""
    drum: str = ""
    """Name of the drum; empty for a note."""
    pitch: int = 0
    """MIDI number of the note; unused for a drum."""
    length_s: float = 0.0
    """Time for which the note is held, in seconds; unused for a drum."""
    gain: float = 1.0
    """Linear gain."""


@dataclass(frozen=True)
class Mix:
    """The sound of a song: instruments, drum kit, levels, equalizer, room and noise."""

    instruments: tuple[Instrument, Instrument, Instrument]
    """Instruments of bass, comp and lead."""
    snare: str
    """Kind of the second drum, which is snare, brush, rim or clap."""
    hat: str
    """Kind of the cymbal, which is hat, ride or shaker."""
    kick_hz: float
    """Frequency to which the kick is tuned, in Hz."""
    snare_hz: float
    """Frequency to which the snare is tuned, in Hz."""
    hat_hz: float
    """Frequency to which the cymbal is tuned, in Hz."""
    damping: float
    """Factor that the decay times of the drum kit are multiplied by."""
    balance_db: tuple[float, ...]
    """Level of each of `BUSES`, in dB."""
    eq_db: tuple[float, ...]
    """Gain at each of `EQ_HZ`, in dB."""
    reverb_s: float
    """Reverberation time, in which the room's response decays by 60 dB, in seconds."""
    reverb: float
    """Energy of the reverberation relative to the direct sound."""
    noise_db: float
    """Level of the noise floor relative to the music, in dB."""
    saturation: float
    """Gain into the saturation of the whole mix."""
    swell_db: float
    """Peak-to-peak range of the slow changes in loudness, in dB."""
    swell_s: float
    """Period of the slow changes in loudness, in seconds."""
    swell_start: float
    """Phase of the loudness changes at which the song starts, from 0 to 1."""
    peak: float
    """Peak amplitude of the mix, as the largest absolute sample value."""


def play(events: Sequence[Event], *, mix: Mix, duration_s: float, sample_rate: int, rng: Generator) -> Samples:
    """Synthesize and mix `events`; return a float32 waveform ``(sample,)`` with the peak amplitude ``mix.peak``.

    Args:
        events: Sounds to play; anything after `duration_s` is cut off.
        mix: Instruments, drum kit, levels and effects of the song.
        duration_s: Length of the waveform in seconds.
        sample_rate: Sample rate of the waveform in Hz.
        rng: Random number generator for noise and room reflections.
    """
    total_samples = round(duration_s * sample_rate)
    buses = np.zeros((len(BUSES), total_samples), dtype=np.float32)
    noise_rng, room_rng = rng.spawn(2)
    bank = _Bank(mix=mix, sample_rate=sample_rate, rng=noise_rng)
    for event in events:
        start = round(event.start_s * sample_rate)
        sound = bank.sound(event)[: max(0, total_samples - start)]
        buses[event.bus, start : start + len(sound)] += np.float32(event.gain) * sound
    music = np.zeros(total_samples, dtype=np.float32)
    drives = (0.0, *(instrument.drive for instrument in mix.instruments))
    for bus, drive, level_db in zip(buses, drives, mix.balance_db, strict=True):
        level = _rms(bus)
        if level > 0:
            bus /= np.float32(level)
            if drive > 0:
                bus = np.tanh(np.float32(drive) * bus)
                bus /= np.float32(_rms(bus))
            music += np.float32(10 ** (level_db / 20)) * bus
    music = _swell(music, mix=mix, sample_rate=sample_rate)
    floor = 10 ** (mix.noise_db / 20) * _rms(music)
    music += np.float32(floor * np.sqrt(12)) * (noise_rng.random(total_samples, dtype=np.float32) - np.float32(0.5))
    music = _convolve(music, _response(mix, sample_rate, room_rng))
    music *= np.float32(mix.peak / max(float(np.abs(music).max()), 1e-9))
    return music


def _swell(music: Samples, *, mix: Mix, sample_rate: int) -> Samples:
    """Apply saturation and the slow changes in loudness to the mix."""
    music /= np.float32(max(_rms(music), 1e-9))
    music = np.tanh(np.float32(mix.saturation) * music)
    turn = np.arange(len(music), dtype=np.float32) / np.float32(sample_rate * mix.swell_s) + np.float32(mix.swell_start)
    music *= np.exp(np.float32(mix.swell_db / 2 * np.log(10) / 20) * np.sin(np.float32(2 * np.pi) * turn))
    return music


def _response(mix: Mix, sample_rate: int, rng: Generator) -> Samples:
    """Return the impulse response of the room (down to -42 dB) combined with the equalizer."""
    late_s = rng.uniform(0.003, 0.7 * mix.reverb_s, _REFLECTIONS)
    gains = rng.standard_normal(_REFLECTIONS) * 10 ** (-3 * late_s / mix.reverb_s)
    gains *= np.sqrt(mix.reverb / np.sum(gains**2))
    n = int(0.7 * mix.reverb_s * sample_rate)
    room = np.bincount((late_s * sample_rate).astype(int), weights=gains, minlength=n)
    room[0] = 1.0
    size = 1 << (n + sample_rate // 50).bit_length()
    spectrum = np.fft.rfft(room, size)
    hz = np.fft.rfftfreq(size, 1 / sample_rate)
    gain_db = np.interp(np.log2(np.maximum(hz, 20)), np.log2(EQ_HZ), mix.eq_db)
    gain_db -= 10 * np.log10(1 + (30 / np.maximum(hz, 1)) ** 4)  # Remove subsonics: distortion adds an offset.
    # Minimum-phase equalizer, computed from the cepstrum, so that nothing sounds early.
    cepstrum = np.fft.irfft(gain_db * np.log(10) / 20, size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    response = np.fft.irfft(spectrum * np.exp(np.fft.rfft(cepstrum)), size)
    return response[: n + sample_rate // 50].astype(np.float32)


def _convolve(signal: Samples, response: Samples) -> Samples:
    """Return the first ``len(signal)`` samples of the convolution, computed by overlap-add."""
    size = 1 << (4 * len(response)).bit_length()
    step = size - len(response) + 1
    blocks = -(-len(signal) // step)
    padded = np.zeros(blocks * step, dtype=np.float32)
    padded[: len(signal)] = signal
    wet = np.fft.irfft(np.fft.rfft(padded.reshape(blocks, step), size) * np.fft.rfft(response, size), size)
    result = wet[:, :step].astype(np.float32).reshape(-1)
    tail = wet[:-1, step:].astype(np.float32)
    result.reshape(blocks, step)[1:, : size - step] += tail
    return result[: len(signal)]


def _rms(signal: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(signal))))


def _float32(signal: NDArray[np.floating[Any]]) -> Samples:
    return signal.astype(np.float32, copy=False)


class _Bank:
    """Compute the notes and drum sounds of one track, and cache them, since they recur."""

    def __init__(self, *, mix: Mix, sample_rate: int, rng: Generator) -> None:
        self._mix = mix
        self._sample_rate = sample_rate
        self._rng = rng
        self._sounds: dict[tuple[int, str, int, int], Samples] = {}
        self._tables: dict[tuple[int, int], tuple[Samples, Samples]] = {}

    def sound(self, event: Event) -> Samples:
        """Return the sound of an event at gain 1, with its length rounded to 10 ms."""
        key = (event.bus, event.drum, event.pitch, round(event.length_s * 100))
        if key not in self._sounds:
            if event.drum:
                self._sounds[key] = self._drum(event.drum)
            else:
                self._sounds[key] = self._note(event.bus, event.pitch, max(1, key[3]) / 100)
        return self._sounds[key]

    def _time_s(self, length_s: float) -> Samples:
        return np.arange(int(length_s * self._sample_rate), dtype=np.float32) / np.float32(self._sample_rate)

    def _noise(self, samples: int, low_hz: float, high_hz: float) -> Samples:
        """Return noise of unit power between two frequencies, with slopes of 12 dB per octave."""
        spectrum = np.fft.rfft(self._rng.standard_normal(samples, dtype=np.float32))
        hz = np.fft.rfftfreq(samples, 1 / self._sample_rate) + 1.0
        noise = np.fft.irfft(spectrum / (1 + (low_hz / hz) ** 2) / (1 + (hz / high_hz) ** 2), samples)
        return (noise / max(float(np.std(noise)), 1e-9)).astype(np.float32)

    def _drum(self, name: str) -> Samples:
        mix = self._mix
        if name == "kick":
            t = self._time_s(0.3)
            sweep = mix.kick_hz * t - 0.12 * mix.kick_hz * np.exp(-t / 0.03)
            click = self._noise(len(t), 1000, 4000) * np.exp(-t / 0.004)
            return _float32(2 * np.sin(2 * np.pi * sweep) * np.exp(-t / (0.09 * mix.damping)) + 0.3 * click)
        if name == "snare":
            return self._snare(mix.snare)
        decay_s, low_hz, tone, gain = {
            "hat": (0.028, mix.hat_hz, 0.0, 0.5),
            "ride": (0.16, 0.6 * mix.hat_hz, 0.5, 0.35),
            "shaker": (0.04, 0.7 * mix.hat_hz, 0.0, 0.4),
        }[mix.hat]
        if name == "open":
            decay_s, gain = max(0.13, decay_s), gain * 1.1
        t = self._time_s(6 * decay_s)
        sound = self._noise(len(t), low_hz, 14000)
        for ratio in (0.53, 0.71, 0.89, 1.07):
            sound += tone * np.sin(2 * np.pi * ratio * mix.hat_hz * t)
        rise_s = 0.02 if mix.hat == "shaker" else 0.001
        return _float32(gain * np.minimum(1, t / rise_s) * np.exp(-t / (decay_s * mix.damping)) * sound)

    def _snare(self, kind: str) -> Samples:
        mix = self._mix
        decay_s, low_hz, high_hz, tone, hiss = {
            "snare": (0.08, 700, 7000, 0.6, 0.7),
            "brush": (0.12, 1500, 6000, 0.1, 0.35),
            "rim": (0.018, 900, 3500, 0.8, 0.5),
            "clap": (0.06, 900, 3000, 0.0, 0.9),
        }[kind]
        t = self._time_s(6 * decay_s)
        fall = np.exp(-t / (decay_s * mix.damping))
        if kind == "clap":
            fall = fall * (0.4 + 0.6 * np.exp(-(t % 0.011) / 0.004) * (t < 0.033) + 0.6 * (t >= 0.033))
        if kind == "brush":
            fall = fall * np.minimum(1, t / 0.03)
        body_hz = mix.snare_hz * (3 if kind == "rim" else 1)
        return _float32(fall * (hiss * self._noise(len(t), low_hz, high_hz) + tone * np.sin(2 * np.pi * body_hz * t)))

    def _note(self, bus: int, pitch: int, length_s: float) -> Samples:
        """Return a note that is held for `length_s` seconds and then released."""
        played = self._mix.instruments[bus - 1]
        release_s = 0.05
        t = self._time_s(length_s + release_s)
        phase = np.float32(440 * 2 ** ((pitch - 69) / 12)) * t
        if played.vibrato:
            onset = np.minimum(1, t / 0.3)
            phase += phase[-1] / t[-1] * played.vibrato / (2 * np.pi * 5.5) * onset * np.sin(2 * np.pi * 5.5 * t)
        bright, mellow = self._table(bus, pitch)
        place = (phase * _TABLE_SAMPLES).astype(np.int32) & (_TABLE_SAMPLES - 1)
        tone = mellow[place] + np.exp(-t / np.float32(played.fade_s)) * bright[place]
        if played.detune:
            place = (phase * (_TABLE_SAMPLES * (1 + played.detune))).astype(np.int32) & (_TABLE_SAMPLES - 1)
            tone += mellow[place] + bright[place]
        envelope = played.sustain + (1 - played.sustain) * np.exp(-t / np.float32(played.decay_s))
        envelope *= np.minimum(1, t / np.float32(played.attack_s))
        envelope *= np.minimum(1, (length_s + release_s - t) / np.float32(release_s))
        return _float32(tone * envelope)

    def _table(self, bus: int, pitch: int) -> tuple[Samples, Samples]:
        """Return one period of a note in two parts: the bright part, which fades, and the mellow part, which stays."""
        if (bus, pitch) not in self._tables:
            played = self._mix.instruments[bus - 1]
            pitch_hz = 440 * 2 ** ((pitch - 69) / 12)
            partial = np.arange(1, max(2, int(min(self._sample_rate / 2, 12000) / pitch_hz)))
            amplitude = partial**-played.slope * np.where(partial % 2 == 0, played.even, 1.0)
            if played.formants_hz:
                distance = np.log2(partial[:, None] * pitch_hz / np.array(played.formants_hz))
                amplitude *= 0.15 + np.exp(-0.5 * (distance / 0.25) ** 2).sum(axis=1)
            spectrum = np.zeros((2, _TABLE_SAMPLES // 2 + 1), dtype=np.complex128)
            stays = 1 / (1 + (partial / 3.0) ** 2)
            turned = amplitude * np.exp(2j * np.pi * (0.618034 * partial**2 % 1))
            spectrum[:, partial] = turned * (1 - stays), turned * stays
            period = np.fft.irfft(spectrum, axis=1) * _TABLE_SAMPLES
            period /= np.sqrt(np.sum(np.abs(amplitude) ** 2))
            self._tables[bus, pitch] = (period[0].astype(np.float32), period[1].astype(np.float32))
        return self._tables[bus, pitch]
