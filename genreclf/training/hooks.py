"""Hooks of Lightning that a callback or module really has."""

from collections.abc import Callable, Iterable
from typing import Any


def hooks_of(owners: Iterable[object], name: str, base: type) -> list[Callable[..., Any]]:
    """Return the hooks called `name` that `owners` replace in their class or, as `LambdaCallback` does, in themselves.

    Args:
        owners: Callbacks or modules.
        name: Name of the hook.
        base: Class whose own hook counts as not replaced.
    """
    hooks = [getattr(owner, name) for owner in owners]
    return [hook for hook in hooks if getattr(hook, "__func__", hook) is not getattr(base, name)]
