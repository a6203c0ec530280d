"""Array fields of a problem: named axes, checked ranges, read-only."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import InvalidInput

_AXES = {"s": "sessions", "m": "modes", "k": "targets", "c": "circuits", "t": "slots", "p": "phases", "d": "charges"}


_DTYPES = {"FloatArray": np.float64, "IntArray": np.int64, "BoolArray": np.bool_}


def axes_of(names: str, *, low: float = -np.inf, high: float = np.inf, endless: bool = False) -> dict[str, Any]:
    """Field metadata: axes by letter, permitted range, and whether +inf (no limit) may occur."""
    return {"axes": names, "low": low, "high": high, "endless": endless}


@lru_cache
def _array_fields(kind: Hashable) -> tuple[tuple[str, str, Any, Any], ...]:
    """Name, axes, type and metadata of every array field of a dataclass."""
    return tuple(
        (item.name, item.metadata["axes"], _DTYPES[str(item.type)], item.metadata)
        for item in fields(kind)  # type: ignore[arg-type]
        if "axes" in item.metadata
    )


def freeze(owner: object, place: str, sizes: dict[str, int]) -> None:
    """Replace every array field of ``owner`` by a checked read-only copy; one that is frozen already stays."""
    for field_name, axes, dtype, metadata in _array_fields(cast("Hashable", type(owner))):
        value = getattr(owner, field_name)
        name = f"{place}{field_name}"
        shape = tuple([sizes[axis] for axis in axes])
        if isinstance(value, np.ndarray) and _is_frozen(value, shape, dtype):
            if value.dtype.kind == "f":
                _check_range(name, value, metadata)
            continue
        try:
            array: NDArray[Any] = np.array(value, dtype=dtype)
        except (TypeError, ValueError) as error:
            raise InvalidInput(name, value, "give numbers only") from error
        if array.size == 0 and 0 in shape:
            array = array.reshape(shape)
        if array.shape != shape:
            wanted = " x ".join(_AXES.get(axis, axis) for axis in axes)
            raise InvalidInput(name, array.shape, f"give the shape {shape} ({wanted})")
        if array.dtype.kind == "f":
            _check_range(name, array, metadata)
        array.setflags(write=False)
        object.__setattr__(owner, field_name, array)


def _is_frozen(array: NDArray[Any], shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether an array needs no copy: nobody can write to it."""
    return not array.flags.writeable and array.flags.owndata and array.shape == shape and array.dtype == dtype


def _check_range(name: str, array: NDArray[np.float64], metadata: Any) -> None:
    low, high, endless = metadata["low"], metadata["high"], metadata["endless"]
    if not array.size:
        return
    least, greatest = np.minimum.reduce(array, axis=None), np.maximum.reduce(array, axis=None)
    # With a value that is no number both comparisons fail.
    if low <= least and greatest <= high and least > -np.inf and (endless or greatest < np.inf):
        return
    wrong = ~((array >= low) & (array <= high)) | (~np.isfinite(array) & ~(endless & (array == np.inf)))
    if wrong.any():
        place = tuple(int(index) for index in np.argwhere(wrong)[0])
        fix = f"give a finite number from {low:g} to {high:g}" if np.isfinite(low) else "give a finite number"
        raise InvalidInput(
            f"{name}[{', '.join(map(str, place))}]", float(array[place]), fix + (" or +inf" if endless else "")
        )
