"""What a policy knows of output lengths: ``--predictor shipped|law|prior|oracle``."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Protocol

import numpy as np

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.replay.trace import TraceRequest, Workload

SHIPPED_SECONDS = 0.002
"""What a prediction by the shipped predictor is charged, seconds: embedding and neighbours of one
prompt take 1 to 2 ms on a CPU core. Stated, not measured, so that repeats are identical."""

REMEMBERED_PROMPTS = 4096


def text_of(request: TraceRequest) -> str:
    """Its prompt; without a text only its length speaks, about 4 characters a token."""
    return request.text or " " * (4 * len(request.prompt))


class Predictions(Protocol):
    """Predicts at arrival, learns at the end.

    Attributes:
        name: for the report.
        seconds: until a request has its prediction: it waits for it before it reaches the
            scheduler, but under our own policy, whose predictions follow their requests.
    """

    name: str
    seconds: float

    def predict(self, number: int, request: TraceRequest) -> LengthDistribution:
        """The output-length distribution of a request that arrives now."""
        ...

    def finished(self, number: int, output_tokens: int, by_itself: bool) -> None:
        """A request ended: by itself, or at the limit of what it might produce."""
        ...

    def refused(self, number: int) -> None:
        """A request was turned away: nothing is learned."""
        ...


class Shipped:
    """The predictor of the plug-in, learning online from an empty history."""

    name = "shipped"
    seconds = SHIPPED_SECONDS

    def __init__(self, grid: LengthGrid) -> None:
        from sagesched.predict import LengthPredictor, make_embedder

        self._predictor = LengthPredictor(make_embedder(), grid)
        self._vectors: dict[int, Any] = {}
        self._embedded: OrderedDict[str, Any] = OrderedDict()

    def predict(self, number: int, request: TraceRequest) -> LengthDistribution:
        """From the neighbours of its text among what has finished."""
        vector = self._vectors[number] = self._embed(request)
        return self._predictor.predict_from(vector[np.newaxis])[0]

    def finished(self, number: int, output_tokens: int, by_itself: bool) -> None:
        """Record the outcome, as the plug-in does: at the limit, it would have been longer."""
        self._predictor.record(self._vectors.pop(number), output_tokens, by_itself)

    def refused(self, number: int) -> None:
        """Forget its vector."""
        del self._vectors[number]

    def _embed(self, request: TraceRequest) -> Any:
        text = text_of(request)
        vector = self._embedded.pop(text, None)
        if vector is None:
            vector = self._predictor.embed([text])[0]
        self._embedded[text] = vector
        if len(self._embedded) > REMEMBERED_PROMPTS:
            self._embedded.popitem(last=False)
        return vector


class Published:
    """The predictor of SageSched as published (arXiv 2603.07917, section 3.1).

    The outputs of past prompts with a cosine similarity of at least 0.8, each counted once, in 10
    buckets of 200 tokens. Left open there, and how it is done here: without such a prompt all past
    outputs count, and before the first one every bucket is as likely; the embedding is the shipped
    one; the newest 10,000 are kept.
    """

    name = "published"
    seconds = SHIPPED_SECONDS

    BUCKETS = 10
    BUCKET_TOKENS = 200
    LEAST_SIMILARITY = 0.8
    KEPT = 10_000

    def __init__(self, grid: LengthGrid) -> None:
        from sagesched.predict import make_embedder

        self._embedder = make_embedder()
        self._grid = grid
        self._bins = [grid.bin_of((k + 1) * self.BUCKET_TOKENS) for k in range(self.BUCKETS)]
        self._past = np.zeros((self.KEPT, self._embedder.dim), dtype=np.float32)
        self._bucket = np.zeros(self.KEPT, dtype=np.int64)
        self._count = 0
        self._vectors: dict[int, Any] = {}

    def predict(self, number: int, request: TraceRequest) -> LengthDistribution:
        """From similar prompts among what has finished."""
        vector = self._embedder.embed([text_of(request)])[0]
        self._vectors[number] = vector
        past = self._bucket[: min(self._count, self.KEPT)]
        similar = past[self._past[: len(past)] @ vector >= self.LEAST_SIMILARITY]
        counts = np.bincount(similar if len(similar) else past, minlength=self.BUCKETS)
        weights = counts if counts.any() else np.ones(self.BUCKETS)
        pmf = np.zeros(len(self._grid))
        np.add.at(pmf, self._bins, weights / weights.sum())
        return LengthDistribution(self._grid, pmf)

    def finished(self, number: int, output_tokens: int, by_itself: bool) -> None:
        """Count the outcome, whatever ended it."""
        slot = self._count % self.KEPT
        self._past[slot] = self._vectors.pop(number)
        self._bucket[slot] = min((output_tokens - 1) // self.BUCKET_TOKENS, self.BUCKETS - 1)
        self._count += 1

    def refused(self, number: int) -> None:
        """Forget its vector."""
        del self._vectors[number]


class Law:
    """The true law of the request's cluster: the best that any prediction could know."""

    name = "law"
    seconds = 0.0

    def __init__(self, workload: Workload, grid: LengthGrid) -> None:
        self._workload = workload
        self._grid = grid
        self._laws: dict[str, LengthDistribution] = {}

    def predict(self, number: int, request: TraceRequest) -> LengthDistribution:
        """The law of its cluster."""
        if request.cluster not in self._laws:
            law = self._workload.law(request.cluster, self._grid)
            if law is None:
                raise ValueError(
                    f"--predictor law: {self._workload.name} has no known law of output lengths; "
                    "use shipped, prior or oracle"
                )
            self._laws[request.cluster] = law
        return self._laws[request.cluster]

    def finished(self, number: int, output_tokens: int, by_itself: bool) -> None:
        """Nothing to learn."""

    def refused(self, number: int) -> None:
        """Nothing to forget."""


class Prior:
    """The law of everything that has finished so far: what is known without looking at a prompt."""

    name = "prior"
    seconds = 0.0

    def __init__(self, grid: LengthGrid) -> None:
        from sagesched.predict import LengthPredictor, make_embedder

        self._predictor = LengthPredictor(make_embedder("hashed"), grid)
        self._nothing = self._predictor.embed([""])[0]

    def predict(self, number: int, request: TraceRequest) -> LengthDistribution:
        """The same for every prompt."""
        return self._predictor.prior()

    def finished(self, number: int, output_tokens: int, by_itself: bool) -> None:
        """Record the outcome."""
        self._predictor.record(self._nothing, output_tokens, by_itself)

    def refused(self, number: int) -> None:
        """Nothing to forget."""


class Oracle:
    """The true length, within its bin."""

    name = "oracle"
    seconds = 0.0

    def __init__(self, grid: LengthGrid) -> None:
        self._grid = grid

    def predict(self, number: int, request: TraceRequest) -> LengthDistribution:
        """All mass on the true length's bin."""
        pmf = np.zeros(len(self._grid))
        pmf[self._grid.bin_of(request.output_tokens)] = 1.0
        return LengthDistribution(self._grid, pmf)

    def finished(self, number: int, output_tokens: int, by_itself: bool) -> None:
        """Nothing to learn."""

    def refused(self, number: int) -> None:
        """Nothing to forget."""


PREDICTORS = ("shipped", "law", "prior", "oracle", "published")


def make_predictions(name: str, workload: Workload, grid: LengthGrid) -> Predictions:
    """A fresh predictor for one run.

    Raises:
        ValueError: the name is not one of ``PREDICTORS``.
    """
    if name == "shipped":
        return Shipped(grid)
    if name == "law":
        return Law(workload, grid)
    if name == "prior":
        return Prior(grid)
    if name == "oracle":
        return Oracle(grid)
    if name == "published":
        return Published(grid)
    raise ValueError(f"--predictor {name}: expected one of {', '.join(PREDICTORS)}")
