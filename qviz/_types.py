"""Types that every room uses: arrays, and how long work reports how far it is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]
ByteArray = npt.NDArray[np.uint8]


class Progress(Protocol):
    """What long work calls as it goes; whatever it raises ends the work, and nothing half done is left behind."""

    def __call__(self, what: str, done: int, total: int | None, /) -> object:
        """Hear that `done` of `total` pieces of `what` are finished; None: nobody knows how many there are."""


def no_progress(what: str, done: int, total: int | None, /) -> None:
    """Tell nobody: the `Progress` of work that nobody watches."""
