"""Find tracks that repeat each other: exactly, or nearly, as in another encoding, level or cut of the same recording.

Near repeats are found by fingerprints of the log-mel spectrogram: the levels in 32 bands, about every 0.155 s, minus
their mean over three seconds and minus the mean over the bands. This removes changes to the whole track by filters,
gains or encoders. Two tracks are compared by the correlation of their overlapping fingerprints at the best time shift.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from genreclf.audio.log_mel import FeatureSpec

BANDS = 32
HOP_S = 0.155
LOCAL_S = 3.0
"""Length in seconds of the moving average that is subtracted from the levels."""

LONGEST_S = 120.0
"""Maximum length in seconds that is compared; of longer tracks, only the middle is used."""

LEAST_OVERLAP = 0.5
"""Smallest overlap at which two tracks are compared, as a fraction of the shorter track."""

LEAST_ENERGY = 0.1
"""Smallest fraction of the energy of each fingerprint that must lie in the overlap."""

ALL_PAIRS = 1024
"""Largest number of tracks for which each track is compared with all others."""

CANDIDATES = 256
"""In larger datasets, number of tracks with similar mean and spread of the spectrum with which a track is compared."""

THRESHOLD = 0.4
"""Lowest correlation of near repeats. In GTZAN, 64 pairs of tracks reach this correlation, and both tracks of each are
the same song; the next pair has a correlation of 0.32, and most pairs lie below 0.15."""

_COMPARED_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """Two tracks that repeat each other."""

    tracks: tuple[str, str]
    """Ids of the two tracks, sorted."""
    exact: bool
    """Whether all samples or pixels of the tracks are equal."""
    similarity: float = 1.0
    """Correlation of the tracks' fingerprints; 1 for exact repeats."""
    shift_s: float = 0.0
    """Number of seconds by which the same music occurs later in the second track than in the first."""


def exact_repeats(digests: Mapping[str, str]) -> list[Repeat]:
    """Return all pairs of tracks with equal digests.

    Args:
        digests: Digest of each track's content, by track id.
    """
    sets: dict[str, list[str]] = {}
    for track, digest in sorted(digests.items()):
        sets.setdefault(digest, []).append(track)
    pairs = ((one, other) for same in sets.values() for i, one in enumerate(same) for other in same[i + 1 :])
    return [Repeat(tracks=pair, exact=True) for pair in sorted(pairs)]


def near_repeats(
    spectrograms: Mapping[str, Callable[[], NDArray[np.generic]]],
    spec: FeatureSpec,
    *,
    progress: Callable[[Sequence[int], str], Iterable[int]] = lambda steps, _: steps,
) -> list[Repeat]:
    """Return the pairs of tracks whose fingerprints have a correlation of at least `THRESHOLD`, the highest first.

    Args:
        spectrograms: For each track id, a function that returns the quantized log-mel spectrogram ``(mel, frame)``.
        spec: Feature settings of the spectrograms.
        progress: Function that iterates over steps and shows the progress; called with the steps and a task name.
    """
    ids = sorted(spectrograms)
    if len(ids) < 2:
        return []
    starts_s, prints, summaries = [], [], []
    for i in progress(range(len(ids)), "Fingerprints"):
        log_mel_q = spectrograms[ids[i]]()
        starts_s.append(_compared(log_mel_q, spec).start / spec.frames_per_second)
        prints.append(fingerprint(log_mel_q, spec))
        summaries.append(_summary(log_mel_q, spec))
    others_of = _candidates(torch.from_numpy(np.stack(summaries)))
    spectra = _Spectra(prints)
    found = []
    for i in progress(range(len(ids)), "Comparisons"):
        for others in torch.split(others_of[i], _COMPARED_AT_ONCE) if len(others_of[i]) else ():
            similarity, shift = spectra.correlations(i, others.tolist())
            for j in (similarity >= THRESHOLD).nonzero()[:, 0].tolist():
                other = int(others[j])
                pair = (ids[i], ids[other])
                shift_s = int(shift[j]) * HOP_S + starts_s[other] - starts_s[i]
                found.append(Repeat(tracks=pair, exact=False, similarity=float(similarity[j]), shift_s=shift_s))
    return sorted(found, key=lambda repeat: (-repeat.similarity, repeat.tracks))


def fingerprint(log_mel_q: NDArray[np.generic], spec: FeatureSpec) -> Tensor:
    """Return the fingerprint ``(band, frame)`` of a quantized log-mel spectrogram ``(mel, frame)``.

    A frame of the fingerprint is about 0.155 s long.
    """
    levels = _bands(log_mel_q[:, _compared(log_mel_q, spec)], spec)
    columns = max(1, round(levels.shape[1] / (HOP_S * spec.frames_per_second)))
    edges = np.linspace(0, levels.shape[1], columns + 1).astype(int)[:-1]
    widths = np.diff(edges, append=levels.shape[1])
    coarse = np.add.reduceat(levels, edges, axis=1) / np.maximum(1, widths)
    width = min(columns, round(LOCAL_S / HOP_S)) // 2 * 2 + 1
    padded = np.pad(coarse, ((0, 0), (width // 2 + 1, width // 2)), mode="edge")
    sums = padded.cumsum(axis=1)
    local = (sums[:, width:] - sums[:, :-width]) / width
    change = coarse - local
    return torch.from_numpy((change - change.mean(axis=0)).astype(np.float32))


def _compared(log_mel_q: NDArray[np.generic], spec: FeatureSpec) -> slice:
    """Return the range of frames of a quantized log-mel spectrogram ``(mel, frame)`` that are compared."""
    frames = round(LONGEST_S * spec.frames_per_second)
    start = max(0, (log_mel_q.shape[1] - frames) // 2)
    return slice(start, start + frames)


def _bands(log_mel_q: NDArray[np.generic], spec: FeatureSpec) -> NDArray[np.float64]:
    """Return the mean level of the mel bands in each of `BANDS` wider bands, in dB, shape ``(band, frame)``."""
    edges = np.linspace(0, len(log_mel_q), min(BANDS, len(log_mel_q)) + 1).astype(int)
    sums = np.add.reduceat(log_mel_q.astype(np.float64), edges[:-1], axis=0)
    levels: NDArray[np.float64] = sums / np.diff(edges)[:, None] * spec.step_db
    return levels


def _summary(log_mel_q: NDArray[np.generic], spec: FeatureSpec) -> NDArray[np.float32]:
    """Return features that are similar in near repeats, whatever the shift: mean and spread of each band, in dB."""
    levels = _bands(log_mel_q, spec)
    means = levels.mean(axis=1)
    return np.concatenate([means - means.mean(), levels.std(axis=1)]).astype(np.float32)


def _candidates(summaries: Tensor) -> list[Tensor]:
    """Return, for each track, the indices of the later tracks with which it is compared."""
    count = len(summaries)
    if count <= ALL_PAIRS:
        return [torch.arange(i + 1, count) for i in range(count)]
    found: list[set[int]] = [set() for _ in range(count)]
    for rows in torch.split(torch.arange(count), 1024):
        distances = torch.cdist(summaries[rows], summaries)
        distances[torch.arange(len(rows)), rows] = torch.inf
        for i, nearest in zip(rows.tolist(), distances.topk(CANDIDATES, largest=False).indices.tolist(), strict=True):
            for j in nearest:
                found[min(i, j)].add(max(i, j))
    return [torch.tensor(sorted(others), dtype=torch.long) for others in found]


class _Spectra:
    """Computes correlations of fingerprints at all time shifts at once with the Fourier transform."""

    def __init__(self, prints: Sequence[Tensor]) -> None:
        self.prints = prints
        longest = max(each.shape[1] for each in prints)
        self.size = 2 ** (2 * longest - 1).bit_length()
        self.of = lru_cache(maxsize=ALL_PAIRS)(self._of)

    def _of(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the Fourier transforms of a fingerprint, of its energy, and of the mask of its frames."""
        values = functional.pad(self.prints[i], (0, self.size - self.prints[i].shape[1]))
        inside = (torch.arange(self.size) < self.prints[i].shape[1]).float()
        return torch.fft.rfft(values), torch.fft.rfft(values.square().sum(dim=0)), torch.fft.rfft(inside)

    def correlations(self, one: int, others: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the largest correlation over all shifts with enough overlap, and the shift in frames, ``(other,)``."""
        spectrum, energy, inside = (part.conj() for part in self.of(one))
        spectra, energies, insides = (torch.stack(parts) for parts in zip(*map(self.of, others), strict=True))
        product, energy_one, energy_other, overlap = torch.fft.irfft(
            torch.stack(
                [torch.einsum("bf,pbf->pf", spectrum, spectra), energy * insides, inside * energies, inside * insides]
            ),
            n=self.size,
        )
        lengths = torch.tensor([min(self.prints[one].shape[1], self.prints[i].shape[1]) for i in others])
        totals = torch.stack([self.prints[i].square().sum() for i in others])[:, None]
        # If the overlap held almost none of a track's energy, rounding errors would dominate the correlation.
        sounds = (energy_one > LEAST_ENERGY * self.prints[one].square().sum()) & (energy_other > LEAST_ENERGY * totals)
        is_long = overlap >= LEAST_OVERLAP * lengths[:, None] - 0.5
        scale = (energy_one * energy_other).clamp(min=1e-6).sqrt()
        best = torch.where(sounds & is_long, product / scale, -1.0).max(dim=1)
        shift = torch.where(best.indices > self.size // 2, best.indices - self.size, best.indices)
        return best.values.clamp(max=1.0), shift
