"""Reading the tensors of a TensorFlow checkpoint without TensorFlow.

A checkpoint has two files. ``.index`` is a table of the tensors' names in LevelDB's table format: blocks of sorted keys
that share prefixes, an index block, and a footer. The entry of a tensor is a protocol buffer with the tensor's type,
shape, first byte and number of bytes. ``.data-00000-of-00001`` has the values of all tensors, one after the other.
"""

import struct
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57
FLOAT = 1
"""TensorFlow's number for the type float32; tensors of other types are ignored."""


def read_checkpoint(index: bytes, data: bytes) -> dict[str, Tensor]:
    """Return the float32 tensors of a checkpoint by their names.

    Args:
        index: Content of the file ``.index``.
        data: Content of the file ``.data-00000-of-00001``.

    Raises:
        ValueError: The files are not a TensorFlow checkpoint, or are damaged.
    """
    footer = index[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("it is not an index of a TensorFlow checkpoint")
    try:
        (_, position), (_, position) = _varint(footer, 0), _varint(footer, _varint(footer, 0)[1])
        offset, position = _varint(footer, position)
        size, _ = _varint(footer, position)
        entries: dict[str, bytes] = {}
        for _, handle in _block(index, offset, size):
            first, position = _varint(handle, 0)
            entries |= {key.decode(): value for key, value in _block(index, first, _varint(handle, position)[0])}
        return {name: _tensor(_fields(entry), data) for name, entry in entries.items() if name and _is_float(entry)}
    except (IndexError, struct.error, UnicodeDecodeError, RuntimeError, KeyError) as error:
        raise ValueError(f"the checkpoint is damaged ({error})") from error


def _is_float(entry: bytes) -> bool:
    return _fields(entry).get(1, [0])[0] == FLOAT


def _tensor(entry: Mapping[int, list[int | bytes]], data: bytes) -> Tensor:
    dimensions = _fields(_bytes(entry, 2)).get(2, []) if 2 in entry else []
    shape = [_number(_fields(each), 1) for each in dimensions if isinstance(each, bytes)]
    first, size = _number(entry, 4), _number(entry, 5)
    if first + size > len(data):
        raise ValueError("the checkpoint is damaged (its data are cut off)")
    values = torch.frombuffer(bytearray(data[first : first + size]), dtype=torch.float32)
    return values.reshape(shape)


def _number(entry: Mapping[int, list[int | bytes]], field: int) -> int:
    value = entry.get(field, [0])[0]
    return value if isinstance(value, int) else 0


def _bytes(entry: Mapping[int, list[int | bytes]], field: int) -> bytes:
    value = entry[field][0]
    return value if isinstance(value, bytes) else b""


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block, in which a key is stored without the prefix it shares with the previous."""
    block = table[offset : offset + size]
    end = len(block) - 4 * (struct.unpack("<I", block[-4:])[0] + 1)
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _fields(message: bytes) -> dict[int, list[int | bytes]]:
    """Return the values of the fields of a protocol buffer, by field number."""
    found: dict[int, list[int | bytes]] = {}
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, position = _varint(message, position)
        elif kind == 2:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
        else:
            size = {1: 8, 5: 4}[kind]
            value, position = int.from_bytes(message[position : position + size], "little"), position + size
        found.setdefault(tag >> 3, []).append(value)
    return found


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Return the variable-length integer at `position` (7 bits per byte, lowest first), and the position after it."""
    number = shift = 0
    while True:
        byte = content[position]
        position += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, position
