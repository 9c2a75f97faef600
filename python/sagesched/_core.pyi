"""The compiled core. Use it through ``sagesched.gittins``."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

class UnknownHandleError(KeyError):
    """A handle that was never given out, or whose request has been removed."""

class RankEngine:
    """See ``sagesched.gittins.RankEngine``. A call does all of its work or raises and does none.

    Any method raises ``UnknownHandleError`` (a KeyError) naming the handle, ``ValueError`` naming
    what is NaN, infinite, negative, too large or of the wrong shape, or ``TypeError``.
    """

    def __init__(
        self,
        support: ArrayLike,
        token: float,
        memory: float,
        prefill: float,
        index_weight: float,
    ) -> None: ...
    def add(
        self,
        pmf: ArrayLike,
        prompt_len: float,
        arrival: float,
        *,
        age: float = 0.0,
        cached_len: float = 0.0,
        priority: int = 0,
    ) -> int:
        """Add a request and return its handle (positive, fits int64).

        Args:
            pmf: ``[m]`` mass of each output length; copied. Same rules as ``gittins_index``.
            prompt_len: prompt tokens.
            arrival: >= 0 on the caller's own clock; all ranks must agree, so not wall time.
            age: output tokens produced so far.
            cached_len: prompt tokens in the prefix cache; clamped to ``prompt_len``.
            priority: class, smaller first.
        """

    def remove(self, handle: int) -> None:
        """Forget a request; its handle stays invalid for ever."""

    def update_age(self, handles: ArrayLike, ages: ArrayLike) -> None:
        """Set the age ``[n]`` (output tokens) of the requests ``[n]`` and evaluate their index."""

    def set_cached_prefix(self, handles: ArrayLike, lengths: ArrayLike) -> None:
        """Set the cached prompt tokens ``[n]`` of the requests ``[n]`` and evaluate their index."""

    def set_index_weight(self, index_weight: float) -> None:
        """Change the weight of the index against arrival for all requests."""

    def top(self, k: int) -> NDArray[np.int64]:
        """Handles of the best ``min(k, len(self))`` requests, best first."""

    def index(self, handle: int) -> float:
        """Gittins index of the request, as of its last evaluation."""

    def key(self, handle: int) -> float:
        """Sort key of the request within its priority class."""

    @property
    def index_weight(self) -> float: ...
    @property
    def slots(self) -> int:
        """Slots allocated: the most requests ever held at once."""

    def __contains__(self, handle: int) -> bool: ...
    def __len__(self) -> int: ...

def gittins_index(
    pmf: ArrayLike,
    support: ArrayLike,
    age: ArrayLike,
    prompt_len: ArrayLike,
    cached_len: ArrayLike,
    token: float,
    memory: float,
    prefill: float,
) -> NDArray[np.float64]:
    """See ``sagesched.gittins.gittins_index``."""

def move_to_front(queue: list[object], front: list[object]) -> int:
    """Move the objects of ``front``, compared by identity, to the front of ``queue``, in place.

    They come first in the order of ``front``; all others keep their order. An object missing from
    the queue is skipped, one named twice moves once; of an object that stands in the queue more
    than once the first one moves. O(len(queue) + len(front)) without a Python call per element.

    Returns:
        How many objects were found and moved.

    Raises:
        TypeError: an argument is not a list.
    """
