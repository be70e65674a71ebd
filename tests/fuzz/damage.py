"""Damage of bytes, of JSON and YAML, and of tables, drawn from a seeded chance."""

import copy
import csv
import io
import json
import random
from typing import Any

import yaml
from fuzzing import BYTES_OF_ODD_NUMBERS, TEXTS, odd_value


def of_bytes(content: bytes, chance: random.Random, *, head: int | None = None) -> bytes:
    """Damage some bytes.

    Args:
        content: What is damaged.
        chance: Where from.
        head: So many bytes at the start hold most of the meaning, and get most of the damage.
    """
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        size = min(len(data), head) if head and chance.random() < 0.7 else len(data)
        if not size:
            break
        at = chance.randrange(size)
        kind = chance.randrange(10)
        if kind < 3:
            data[at] ^= 1 << chance.randrange(8)
        elif kind < 5:
            width = chance.choice([1, 2, 4, 8])
            number = chance.choice(BYTES_OF_ODD_NUMBERS) % 256**width
            data[at : at + width] = number.to_bytes(width, chance.choice(["little", "big"]))
        elif kind == 5:
            del data[at:]
        elif kind == 6:
            del data[at : at + chance.choice([1, 2, 3, 4, 100])]
        elif kind == 7:
            data[at:at] = chance.randbytes(chance.choice([1, 4, 100]))
        elif kind == 8:
            data[at:at] = data[at : at + chance.choice([4, 100, 10_000])]
        else:
            end = at + chance.choice([8, 100, 10_000])
            data[at:end] = bytes(len(data[at:end]))
    return bytes(data)


DEEPEST = 50
"""Where values that are nested as damage are no longer looked into."""


def of_value(value: Any, chance: random.Random) -> Any:
    """Return nested lists and dictionaries with some entries changed, removed, renamed, moved or added."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice([1, 1, 2, 3])):
        places = list(_places(value))
        if not places:
            return odd_value(chance)
        inside, key = chance.choice(places)
        kind = chance.randrange(8)
        if kind < 5:
            inside[key] = odd_value(chance)
        elif kind == 5:
            del inside[key]
        elif kind == 6:
            other, other_key = chance.choice(places)
            inside[key] = copy.deepcopy(other[other_key])
        elif isinstance(inside, dict):
            inside[chance.choice(TEXTS)] = inside.pop(key) if chance.random() < 0.5 else odd_value(chance)
        else:
            inside.insert(key, odd_value(chance))
    return value


def _places(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict | list) and depth < DEEPEST:
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key], depth + 1)


def of_json(content: bytes, chance: random.Random) -> bytes:
    return json.dumps(of_value(json.loads(content), chance)).encode()


def of_yaml(content: bytes, chance: random.Random) -> bytes:
    changed = of_value(yaml.safe_load(content), chance)
    return yaml.safe_dump(changed, sort_keys=False, allow_unicode=chance.random() < 0.5).encode()


def of_table(content: bytes, chance: random.Random) -> bytes:
    """Change cells, rows and columns of CSV."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    for _ in range(chance.choice([1, 1, 2, 3])):
        row = chance.choice(rows)
        column = chance.randrange(len(row)) if row else 0
        kind = chance.randrange(7)
        if kind < 3 and row:
            row[column] = str(odd_value(chance))
        elif kind == 3:
            row[column : column + 1] = []
        elif kind == 4:
            row.insert(column, str(odd_value(chance)))
        elif kind == 5 and len(rows) > 1:
            rows.remove(row)
        else:
            rows.insert(chance.randrange(len(rows)), list(row))
    changed = io.StringIO()
    csv.writer(changed, lineterminator="\n").writerows(rows)
    return changed.getvalue().encode("utf-8", "surrogateescape")
