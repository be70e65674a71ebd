"""Values of a configuration: make them plain, and check that they are usable and match the arguments that they set."""

import json
import math
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin

from omegaconf import OmegaConf

LONGEST_NAME = 255
"""Maximum length of a file name in bytes."""

LONGEST_LIST = 1000
"""Maximum number of entries of a list."""

_WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    type(None): ("null", "nulls"),
}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with the lists and dictionaries of OmegaConf converted to those of Python."""
    return {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in values.items()
    }


def value_problems(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return a sentence for each value of a nested configuration that no setting could use.

    Unusable values are numbers that are not finite or do not fit into 64 bits, empty strings, very long lists, and
    strings that contain null characters or are too long for a file name. In the sentences, keys begin with `prefix`.
    """
    problems: list[str] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            problems += value_problems(value, f"{name}.")
            continue
        entries = value if isinstance(value, list) else [value]
        if len(entries) > LONGEST_LIST:
            problems.append(f"{name} has {len(entries)} entries; at most {LONGEST_LIST} are allowed.")
            continue
        for entry in entries:
            if isinstance(entry, list):
                problems += value_problems({name: entry})
            elif problem := _problem(entry):
                problems.append(f"{name}={shown(value)} {problem}.")
    return problems


def _problem(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "is not a finite number"
    if isinstance(value, int) and abs(value) >= 2**63:
        return "does not fit into 64 bits"
    if not isinstance(value, str):
        return None
    if not value:
        return "is empty; give it a value, or omit it"
    if "\0" in value:
        return "contains a null character"
    if any(len(part.encode(errors="replace")) > LONGEST_NAME for part in value.split("/")):
        return f"is too long; a name may have at most {LONGEST_NAME} bytes"
    return None


def shown(value: Any) -> str:
    """Return a value as the user would type it; long values are shortened."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, list | tuple):
        text = f"[{','.join(shown(entry) for entry in value[:20])}{',...' if len(value) > 20 else ''}]"
    else:
        text = str(value)
    return text if len(text) <= 80 else f"{text[:40]}...{text[-20:]}"


def argument_problems(group: str, target: Callable[..., Any], section: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each value of a section that does not match the annotation of its argument.

    Arguments without an annotation, or with one that YAML cannot express, accept any value.

    Args:
        group: Group of the configuration, such as ``model``, for the sentences.
        target: Class or function whose arguments the section sets.
        section: Names of arguments and their values.
    """
    annotations = _annotations(target)
    problems = []
    for key, value in section.items():
        if key in annotations and not _fits(annotations[key], value):
            if isinstance(value, str) and _fits(annotations[key], decoded(value)):
                problems.append(left_as_text(f"{group}.{key}", value))
                continue
            is_path = any(_is_path(kind) for kind in _members(annotations[key])) and isinstance(value, int | float)
            hint = f"; write {group}.{key}=./{value}" if is_path and not isinstance(value, bool) else ""
            problems.append(f"{group}.{key}={shown(value)} must be {_words(annotations[key])}{hint}.")
    return problems


def decoded(text: str) -> Any:
    """Return the value that a string would have without quotes (a number, list, boolean or null); else the string."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return text


def left_as_text(key: str, text: str) -> str:
    """Return the sentence for a number or other value that quotes or an environment variable have turned into text."""
    way = f"""'{key}="${{oc.decode:${{oc.env:NAME}}}}"'"""
    return f"{key}={shown(text)} is text here: leave out its quotes, or read an environment variable with {way}."


def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of the arguments of a function, or of a class and its base classes."""
    owners = reversed(target.__mro__) if isinstance(target, type) else (target,)
    found: dict[str, Any] = {}
    for owner in owners:
        function = owner.__dict__.get("__init__") if isinstance(owner, type) else owner
        with suppress(AttributeError, NameError, TypeError):  # Some names are imported by type checkers only.
            found |= typing.get_type_hints(function)
    return found


def _members(annotation: Any) -> Sequence[Any]:
    """Return the members of a union, without those that YAML cannot express if any others but None remain.

    An annotation that is not a union is its own only member.
    """
    if get_origin(annotation) not in (typing.Union, types.UnionType):
        return (annotation,)
    members = get_args(annotation)
    plain = [member for member in members if _is_plain(member)]
    return plain if any(member is not type(None) for member in plain) else members


def _is_plain(annotation: Any) -> bool:
    return annotation in _WORDS or _is_path(annotation) or get_origin(annotation) is not None


def _is_path(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, os.PathLike)


def _fits(annotation: Any, value: Any) -> bool:
    if len(members := _members(annotation)) > 1:
        return any(_fits(member, value) for member in members)
    (kind,) = members
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return any(type(part) is type(value) and part == value for part in parts)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return isinstance(value, list | tuple) and _entries_fit(origin, parts, value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (bool, str, type(None)):
        return isinstance(value, kind)
    return isinstance(value, str) if _is_path(kind) else True


def _entries_fit(origin: type, parts: Sequence[Any], values: Sequence[Any]) -> bool:
    if issubclass(origin, tuple) and parts[-1:] != (Ellipsis,):
        return len(parts) == len(values) and all(map(_fits, parts, values))
    return all(_fits(parts[0], value) for value in values)


def _words(annotation: Any, *, several: bool = False) -> str:
    """Return, in words, which values an annotation accepts."""
    texts = []
    for kind in _members(annotation):
        origin, parts = get_origin(kind), get_args(kind)
        if origin is Literal:
            texts.append(f"one of {', '.join(map(str, parts))}")
        elif isinstance(origin, type) and issubclass(origin, Sequence):
            count = f"{len(parts)} " if issubclass(origin, tuple) and Ellipsis not in parts else ""
            texts.append(f"{'lists' if several else 'a list'} of {count}{_words(parts[0], several=True)}")
        elif _is_path(kind):
            texts.append("paths" if several else "a path")
        else:
            texts.append(_WORDS.get(kind, ("a group of keys", "groups of keys"))[several])
    if any(map(_is_path, _members(annotation))):
        texts = [text for text in texts if text not in ("text", "texts")]
    return " or ".join(dict.fromkeys(texts))
