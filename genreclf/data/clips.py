"""Choose the clips of an epoch or an evaluation, and cut them out of the store in batches."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from genreclf.data.store import Store
from genreclf.splits.base import Segment

Short = Literal["pad", "wrap"]
"""How to fill tracks shorter than a clip; ``pad`` adds silence and ``wrap`` repeats the track."""


BATCHES_AHEAD = 2
"""Number of batches that are cut ahead if the store is read from disk or does not fit on the device."""


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy `values` to a device, asynchronously where this is safe.

    Asynchronous copies to Apple GPUs are not safe, since the source memory may be reused before it is read. Copies
    from a GPU to the CPU are not safe either, since values might be read before they have arrived.
    """
    return values.to(device, non_blocking=device.type not in ("cpu", "mps"))


class ClipBatch(NamedTuple):
    """A batch of clips."""

    stored: Tensor
    """Stored values of the clips, shape ``(batch, mel, frame)``."""
    genre: Tensor
    """Index of the genre of each clip, shape ``(batch,)``."""
    segment: Tensor
    """Index of the segment of each clip within its subset, shape ``(batch,)``."""
    start_frame: Tensor
    """First frame of each clip within its track, shape ``(batch,)``."""
    track_ids: tuple[str, ...] = ()
    """Track id of each segment of the subset; empty in training."""

    def to(self, device: torch.device) -> "ClipBatch":
        """Return the batch on a device; from the CPU to another device, it is moved in a single copy."""
        if self.stored.device.type == "cpu" != device.type:
            return self.packed(device)
        return ClipBatch._make([*(to_device(values, device) for values in self[:4]), self.track_ids])

    def packed(self, device: torch.device, *, pinned: bool = False) -> "ClipBatch":
        """Pack the batch into one block of memory, pinned if `pinned` is set, and copy the block to a device."""
        parts = (torch.stack(self[1:4]), self.stored.mT)  # The wider type comes first for alignment.
        sizes = [part.nbytes for part in parts]

        def views(memory: Tensor) -> list[Tensor]:
            split = zip(torch.split(memory, sizes), parts, strict=True)
            return [piece.view(part.dtype).view(part.shape) for piece, part in split]

        memory = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=pinned)
        for place, part in zip(views(memory), parts, strict=True):
            place.copy_(part)
        numbers, stored = views(to_device(memory, device))
        return ClipBatch._make([stored.mT, *numbers.unbind(), self.track_ids])


@dataclass(frozen=True)
class SegmentTable:
    """Segments of one subset as tensors, with one entry per segment."""

    offset_frames: Tensor
    """First frame of the segment in the store."""
    length_frames: Tensor
    """Number of frames of the segment."""
    start_frame: Tensor
    """First frame of the segment within its track."""
    genre: Tensor
    """Index of the genre of the segment."""

    @classmethod
    def of(cls, segments: Sequence[Segment], genre_of: Callable[[str], int], store: Store) -> "SegmentTable":
        """Return the table of `segments` in `store`."""
        tensor = partial(torch.tensor, dtype=torch.long)  # Also without segments.
        start = tensor([segment.start_frame for segment in segments])
        return cls(
            offset_frames=tensor([store.offsets_frames[segment.track_id] for segment in segments]) + start,
            length_frames=tensor([segment.stop_frame - segment.start_frame for segment in segments]),
            start_frame=start,
            genre=tensor([genre_of(segment.track_id) for segment in segments]),
        )

    def stacked(self) -> Tensor:
        """Stack all fields to a tensor ``(4, segment)``, so that one operation can look up all of them."""
        return torch.stack([getattr(self, field.name) for field in fields(self)])

    def __len__(self) -> int:
        return len(self.genre)


def random_clips(
    table: SegmentTable, *, clip_frames: int, crops: int, short: Short, generator: torch.Generator
) -> Tensor:
    """Draw `crops` random clips of each segment, and shuffle them.

    Returns:
        Tensor of shape ``(clip, 3)`` that holds the index of the segment, the number of the clip within the segment,
        and the first frame of the clip within the segment.
    """
    segment = torch.arange(len(table)).repeat_interleave(crops)
    number = torch.arange(crops).repeat(len(table))
    room = table.length_frames[segment] - clip_frames + 1
    if short == "wrap":
        room = torch.where(room < 1, table.length_frames[segment], room)
    start = (torch.rand(len(segment), generator=generator, dtype=torch.float64) * room.clamp(min=1)).long()
    order = torch.randperm(len(segment), generator=generator)
    return torch.stack([segment, number, start], 1)[order]


def grid_clips(table: SegmentTable, *, clip_frames: int, overlap: float) -> Tensor:
    """Cover every segment with the fewest evenly spaced clips that overlap by at least `overlap` of their length.

    Returns:
        Tensor of shape ``(clip, 3)``, ordered by segment, that holds the index of the segment, the number of the clip
        within the segment, and the first frame of the clip within the segment.
    """
    room = (table.length_frames - clip_frames).clamp(min=0)
    stride = max(1.0, clip_frames * (1 - overlap))
    count = (room / stride).ceil().long() + 1
    segment = torch.arange(len(table)).repeat_interleave(count)
    number = torch.arange(len(segment)) - (count.cumsum(0) - count)[segment]
    start = (number * room[segment] / (count[segment] - 1).clamp(min=1)).long()
    return torch.stack([segment, number, start], 1)


def cut(
    frames: Tensor, offset: Tensor, length: Tensor | None, start: Tensor, clip_frames: int, silence: int | None
) -> Tensor:
    """Cut a batch of clips out of the store with one gather.

    Args:
        frames: All stored frames, shape ``(frame, mel)``.
        offset: First frame in the store of the segment of each clip, shape ``(batch,)``.
        length: Number of frames of the segment of each clip, shape ``(batch,)``; None if no segment is shorter than a
            clip.
        start: First frame of each clip within its segment, shape ``(batch,)``.
        clip_frames: Number of frames of a clip.
        silence: Stored value that fills up short segments; None to repeat the segment instead.

    Returns:
        Stored values of the clips, shape ``(batch, mel, frame)``.
    """
    place = start[:, None] + torch.arange(clip_frames, device=start.device)
    rows = offset[:, None] + (place if length is None else place % length[:, None])
    stored = frames.index_select(0, rows.flatten()).view(*rows.shape, -1)  # Indexing is 4 times slower on a CPU.
    if silence is not None and length is not None:
        stored = stored.masked_fill((place >= length[:, None])[..., None], silence)
    return stored.transpose(1, 2)


class ClipLoader:
    """Loader that yields the clips of a subset in batches of rows ``(batch, 3)`` of `random_clips` or `grid_clips`.

    Every rank gets its share of each batch; the shares may differ by one clip. The last batch is filled up with clips
    from the start of the epoch. If `cut` is given, a thread cuts the next clips while the current ones are in use.

    Args:
        plan: Function that returns the rows of one epoch, which are the same on every rank.
        clips: Number of rows in an epoch.
        batch_size: Number of rows in a batch, over all ranks.
        rank: Index of this rank.
        ranks: Number of ranks.
        device: Device to which the rows of an epoch are copied in advance, so that no batch has to be copied.
        cut: Function that cuts the clips of rows, which are then yielded instead of rows; None to yield rows, whose
            clips are cut on the device.
        target: Device to which clips that were cut ahead are copied, if it is an NVIDIA GPU.
    """

    def __init__(
        self,
        plan: Callable[[], Tensor],
        *,
        clips: int,
        batch_size: int,
        rank: int = 0,
        ranks: int = 1,
        device: torch.device | None = None,
        cut: Callable[[Tensor], ClipBatch] | None = None,
        target: torch.device | None = None,
    ) -> None:
        """Store the arguments; `plan` is only called at the start of each epoch."""
        self.plan = plan
        self.clips = clips
        self.batch_size = batch_size
        self.rank, self.ranks = rank, ranks
        self.device = device or torch.device("cpu")
        self.cut = cut
        self.stream = _side_stream(target) if cut is not None else None

    def __len__(self) -> int:
        return -(-self.clips // self.batch_size)

    def __iter__(self) -> Iterator[Tensor | ClipBatch]:
        """Yield this rank's share of each batch."""
        rows = self.plan()
        filled = torch.arange(len(self) * self.batch_size) % len(rows)
        batches = rows[filled].view(len(self), self.batch_size, rows.shape[1])
        shares = to_device(batches[:, self.rank :: self.ranks].contiguous(), self.device).unbind()
        if self.cut is None:
            yield from shares
            return
        cut: Callable[[Tensor], Arriving] = partial(Arriving, self.cut, stream=self.stream)
        waiting: deque[Future[Arriving]] = deque()
        with ThreadPoolExecutor(1) as reader:
            for share in shares:
                waiting.append(reader.submit(cut, share))
                if len(waiting) > BATCHES_AHEAD:
                    yield waiting.popleft().result().batch()
            while waiting:
                yield waiting.popleft().result().batch()


class Arriving:
    """A batch of clips that a thread has cut and, if `stream` is given, is copying to the GPU.

    The clips are copied from pinned memory while the GPU computes.
    """

    def __init__(self, cut: Callable[[Tensor], ClipBatch], rows: Tensor, *, stream: torch.cuda.Stream | None) -> None:
        """Cut the clips of `rows` and start copying them."""
        self._clips, self._stream = cut(rows), stream
        if stream is not None:
            # Packed within the stream's context, since new threads use the first GPU, whatever the rank.
            with torch.cuda.stream(stream):
                self._clips = self._clips.packed(stream.device, pinned=True)
                self._copied = stream.record_event()

    def batch(self) -> ClipBatch:
        """Return the clips; the current stream waits until they have been copied before it uses them."""
        if self._stream is not None:
            here = torch.cuda.current_stream(self._stream.device)
            here.wait_event(self._copied)
            self._clips.stored.record_stream(here)  # All tensors share memory of the other stream.
        return self._clips


def _side_stream(device: torch.device | None) -> torch.cuda.Stream | None:
    if device is None or device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
