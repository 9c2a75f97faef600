"""The compiled core. Use it through ``sagesched.gittins``."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagesched.cost import CostModel

class UnknownHandleError(KeyError):
    """A handle that was never given out, or whose request has been removed."""

class RankEngine:
    """See ``sagesched.gittins.RankEngine``. A call does all of its work or raises and does none.

    Any method raises ``UnknownHandleError`` (a KeyError) naming the handle, ``ValueError`` naming
    the argument, row and value that is NaN, infinite, negative, too large or of the wrong shape,
    or ``TypeError``. Arrays of int64, float64 and (``pmf``) float32 are read without a copy. Of a
    handle given more than once in one call the last values count; removing it twice is an error.
    """

    def __init__(
        self,
        support: ArrayLike,
        token: float,
        memory: float,
        prefill: float,
        index_weight: float,
        slice: int,
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
        lead: float = 0.0,
    ) -> int:
        """Add a request and return its handle (positive, fits int64).

        Args:
            pmf: ``[m]`` mass of each output length; copied, as float32. Same rules as
                ``gittins_index``.
            prompt_len: prompt tokens.
            arrival: 0 to 1e300 on the caller's own clock; all ranks must agree, so not wall time.
            age: output tokens produced so far.
            cached_len: prompt tokens in the prefix cache; clamped to ``prompt_len``.
            priority: class, smaller first.
            lead: 0 to 256, taken off ``ln(index)``; kept as float32.
        """

    def add_batch(
        self,
        pmf: ArrayLike,
        prompt_len: ArrayLike,
        arrival: ArrayLike,
        *,
        age: ArrayLike = 0.0,
        cached_len: ArrayLike = 0.0,
        priority: ArrayLike = 0,
        lead: ArrayLike = 0.0,
    ) -> NDArray[np.int64]:
        """Add the requests of ``pmf[n, m]`` in row order and return their handles ``[n]``.

        All other arguments are ``[n]`` or a scalar for all rows, and mean what they mean in
        ``add``. One call of the kernel.
        """

    def update(
        self,
        handles: ArrayLike,
        *,
        age: ArrayLike | None = None,
        cached_len: ArrayLike | None = None,
        boost: ArrayLike | None = None,
        remove: ArrayLike | None = None,
    ) -> None:
        """Set columns ``[n]`` of the requests ``[n]``, then forget the requests in ``remove``.

        One call of the kernel if ``age`` or ``cached_len`` is given, none otherwise.

        Args:
            handles: whose values follow.
            age: output tokens produced so far.
            cached_len: prompt tokens in the prefix cache.
            boost: the caller's aging term, added to the key; negative goes forward. In units of
                the arrival clock, or of ``ln(index)`` if the weight is infinite.
            remove: handles, also of requests named above.
        """

    def remove(self, handles: ArrayLike) -> None:
        """Forget a request or an array of them; their handles stay invalid for ever."""

    def update_age(self, handles: ArrayLike, ages: ArrayLike) -> None:
        """``update(handles, age=ages)``."""

    def set_cached_prefix(self, handles: ArrayLike, lengths: ArrayLike) -> None:
        """``update(handles, cached_len=lengths)``."""

    def set_boost(self, handles: ArrayLike, boosts: ArrayLike) -> None:
        """``update(handles, boost=boosts)``."""

    def set_index_weight(self, index_weight: float) -> None:
        """Change the weight of the index against arrival; keys follow in slices, see ``top``."""

    def set_index_band(self, low: float, high: float) -> None:
        """Clamp ``ln(index)`` to a band, -inf to inf at first; keys follow in slices.

        Nobody is overtaken by who arrives more than ``index_weight * (high - low)`` later.
        """

    def set_lead_scale(self, scale: float) -> None:
        """Take that many times each lead off, 1 at first; keys follow in slices.

        Raises:
            ValueError: negative, NaN or above 256.
        """

    def set_cost(self, cost: CostModel) -> None:
        """Change the cost; indices and keys follow in slices, see ``top``."""

    def top(self, k: int) -> NDArray[np.int64]:
        """Handles of the best ``min(k, len(self))`` requests, best first; O(k log k).

        While ``pending`` is not 0, first gives the next ``slice`` slots, in slot order, the key
        of the new weight and cost; one call of the kernel if it was the cost that changed.
        """

    def compare(self, a: int, b: int) -> int:
        """-1 if ``a`` goes before ``b``, 1 if after, 0 if they are the same handle."""

    def index(self, handle: int) -> float:
        """Gittins index of the request (a float32), as of its last evaluation."""

    def log_index(self, handle: int) -> float:
        """``ln(index)``, the same bits on every machine; not clamped to the band."""

    def key(self, handle: int) -> float:
        """Sort key of the request within its priority class, as of its last evaluation."""

    def keys(self, handles: ArrayLike) -> NDArray[np.float64]:
        """``key`` of each."""

    @property
    def index_weight(self) -> float: ...
    @property
    def slots(self) -> int:
        """Slots in use so far: the most requests ever held at once."""

    @property
    def pending(self) -> int:
        """Slots that the next calls of ``top`` will visit to end a re-ranking; 0 when done."""

    @property
    def kernel_calls(self) -> int:
        """Calls of the index kernel so far."""

    @property
    def bytes_per_request(self) -> int:
        """Memory of one request: ``4 m + 100``."""

    def __contains__(self, handle: int) -> bool: ...
    def __len__(self) -> int: ...

class IndexCurve:
    """See ``sagesched.gittins.IndexCurve``."""

    def __init__(
        self,
        pmf: ArrayLike,
        support: ArrayLike,
        prompt_len: float,
        token: float,
        memory: float,
        prefill: float,
    ) -> None: ...
    def index(
        self, age: ArrayLike, cached_len: ArrayLike = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Index at the ages ``[n]``, and the edge that attains each (the next stopping age).

        Args:
            age: ``[n]`` output tokens produced so far.
            cached_len: ``[n]`` or scalar, prompt tokens in the prefix cache.

        Raises:
            ValueError, TypeError: as ``gittins_index``.
        """

def gittins_curve(
    pmf: ArrayLike,
    support: ArrayLike,
    prompt_len: ArrayLike,
    cached_len: ArrayLike,
    token: float,
    memory: float,
    prefill: float,
) -> NDArray[np.float64]:
    """See ``sagesched.gittins.gittins_curve``."""

def gittins_index(
    pmf: ArrayLike,
    support: ArrayLike,
    age: ArrayLike,
    prompt_len: ArrayLike,
    cached_len: ArrayLike,
    token: float,
    memory: float,
    prefill: float,
    threads: int,
    want_stop: bool,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """See ``sagesched.gittins.gittins_index``."""

def simd_level() -> str:
    """The instruction set the kernels run on: "scalar", "avx2", "avx512" or "neon".

    The best one this machine has, unless the environment variable ``SAGESCHED_SIMD`` names another.
    All of them give the same bits.

    Raises:
        ValueError: ``SAGESCHED_SIMD`` names a level that is unknown or not available; the message
            lists those that are.
    """

def simd_levels() -> list[str]:
    """The levels this machine can run, slowest first."""

def set_simd_level(name: str) -> None:
    """Change the level, for tests and benchmarks.

    Raises:
        ValueError: as :func:`simd_level`.
    """

def read_floor(values: NDArray[Any]) -> float:
    """The sum of a contiguous float32 or float64 array, as fast as the level in force can read it.

    Raises:
        ValueError: the array is not contiguous.
        TypeError: it is neither float32 nor float64.
    """

def look_up(curves: list[Any], age: ArrayLike, cached_len: ArrayLike) -> NDArray[np.float64]:
    """Index of each of several ``IndexCurve`` at one age and cached length each.

    Raises:
        ValueError, TypeError: as ``gittins_index``.
    """

class BytePairs:
    """Byte-pair encoding of Llama's kind; see csrc/include's byte_pairs.h.

    Args:
        characters: code point and token of each character that has one, U+2581 among them.
        bytes: tokens of the 256 bytes.
        merges: int32[n, 3], those that go first first: two tokens, and what they become.

    Raises:
        ValueError: no U+2581, a code beyond Unicode, not 256 bytes, not three columns.
    """

    def __init__(
        self, characters: list[tuple[int, int]], bytes: list[int], merges: NDArray[np.int32]
    ) -> None: ...
    def encode(self, text: str) -> NDArray[np.int32]:
        """The tokens of a text.

        Raises:
            TypeError: not a str, or it has lone surrogates.
        """

def exact_sum(values: NDArray[np.float64]) -> float:
    """The sum, rounded once, as ``math.fsum``: the same bits on every machine.

    Where a value is not finite, or a sum overflows, the plain sum.
    """

def exact_dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """``exact_sum(a * b)``."""

def plain_numbers(values: list[Any] | tuple[Any, ...]) -> NDArray[np.float64] | None:
    """Floats and ints as an array; None where anything else is among them (a bool is).

    Raises:
        OverflowError: an int beyond all floats.
    """

def length_law(
    most: float,
    prior: NDArray[np.float64],
    shift: float,
    at: NDArray[np.float64],
    evidence: list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], float]],
) -> NDArray[np.float64]:
    """A length distribution from a prior and weighted outcomes; see csrc/include's length_law.h.

    Args:
        most: the scores' grid runs from -most to most.
        prior: [bins] masses on that grid.
        shift: scores by which the prior is moved first.
        at: [m] right edges of the result's bins, in scores, ascending.
        evidence: in turn, scores [k] and weights [k] of outcomes, whether each is finished or only
            known to be longer, and the strength of what is believed before.

    Returns:
        float64[m], positive, sums to 1.

    Raises:
        ValueError: a wrong shape, a score or weight that is not finite, a strength not positive.
    """

def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Each row of [n, dim] scaled to length 1; zero where it is zero or not finite."""

def code_units(vector: NDArray[np.float32]) -> NDArray[np.int16]:
    """The elements of a unit or zero vector, as the whole numbers that ``nearest`` takes."""

def nearest(
    query: NDArray[np.float32], rows: NDArray[np.float32], codes: NDArray[np.int16], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The nearest rows of a unit or zero vector, exactly; see csrc/include's nearest.h.

    Args:
        query: [dim].
        rows: [n, dim], unit or zero.
        codes: [n, dim], ``code_units`` of each row.
        k: how many are wanted.

    Returns:
        inner products and row numbers of the min(k, n) nearest, best first, ties by row number.

    Raises:
        ValueError: a wrong shape, or k is negative.
        TypeError: another type; nothing is converted, as that would copy a history.
    """

def weigh(
    past: tuple[
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.int64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.int64],
    ],
    near: tuple[NDArray[np.float32], NDArray[np.int64], float],
    asked: tuple[float, float, int],
    weights: tuple[float, float, float, float, float],
    foreign: bool,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.bool_],
    tuple[NDArray[np.float64], NDArray[np.float64]] | None,
]:
    """What near records tell of a request; see csrc/include's weigh.h.

    Args:
        past: columns of all records, by slot: ln(tokens), standing, whether finished, number of
            the origin; by that number: centre and spread of the scores, number of the group.
        near: cosines [k] and slots [k] of the near records, and the usual cosine.
        asked: the request's standing, its shift, the number of its group.
        weights: sharpness, trend_window, trend_floor, trend_share, other_group.
        foreign: whether the records are other tenants'.

    Returns:
        per near record its score, its weight, and whether it is finished; and, if any are of the
        same prompt, their plain scores and what each counts as a draw of it.

    Raises:
        ValueError: a wrong shape, or a slot or an origin that there is not.
    """

def move_to_front(queue: list[object], front: list[object]) -> int:
    """Move the objects of ``front``, compared by identity, to the front of ``queue``, in place.

    They come first in the order of ``front``; all others keep their order. An object missing from
    the queue is skipped, one named twice moves once; of an object that stands in the queue more
    than once one moves. At most O(len(queue) + len(front)), without a Python call per element;
    much less where those that move were at the front before or came last.

    Returns:
        How many objects were found and moved.

    Raises:
        TypeError: an argument is not a list.
    """

class MemoryForecast:
    """How much KV memory a batch will still need; see csrc/include's memory_forecast.h.

    Args:
        edges: right edges of the length bins [m], tokens, ascending from above 0.

    Raises:
        ValueError: edges that do not ascend; in the methods a wrong shape, a number that is
            negative or not finite.
        TypeError: a pmf that is no array of float64.
    """

    def __init__(self, edges: Any) -> None: ...
    def start(
        self,
        pmfs: list[NDArray[np.float64]],
        ages: list[int],
        freeable: list[int],
    ) -> None:
        """Begin with these requests: masses [m], tokens produced, KV tokens only they need."""

    def add(self, pmf: NDArray[np.float64], age: float, freeable: float) -> None:
        """One more."""

    def peak(self, deviations: float) -> float:
        """KV tokens beyond what they hold now: the largest mean and so many standard deviations."""

    def peak_with(
        self, pmf: NDArray[np.float64], age: float, freeable: float, deviations: float
    ) -> float:
        """The same if this one came, too."""
