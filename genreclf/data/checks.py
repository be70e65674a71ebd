"""Check the settings of the datamodule, which a notebook may set to any value."""

from numbers import Integral, Real
from typing import get_args

from genreclf.data.clips import Short
from genreclf.errors import UserError


def check_settings(batch_size: int, crops_per_track: int, grid_overlap: float, short: str) -> None:
    """Raise a `UserError` if a setting of `genreclf.data.datamodule.ClipDataModule` is invalid."""
    for name, value in (("batch_size", batch_size), ("crops_per_track", crops_per_track)):
        if not isinstance(value, Integral) or value < 1:
            raise UserError(f"{name}={value!r} must be a whole number above 0.")
    if not (isinstance(grid_overlap, Real) and 0 <= grid_overlap < 1):
        raise UserError(f"grid_overlap={grid_overlap!r} must be a number from 0 to less than 1.")
    if short not in get_args(Short):
        raise UserError(f"short={short!r} must be one of {', '.join(get_args(Short))}.")
