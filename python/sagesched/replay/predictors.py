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


class Predictions(Protocol):
    """Predicts at arrival, learns at the end.

    Attributes:
        name: for the report.
        seconds: charged to every request before it reaches the scheduler.
    """

    name: str
    seconds: float

    def predict(self, number: int, request: TraceRequest) -> LengthDistribution:
        """The output-length distribution of a request that arrives now."""
        ...

    def finished(self, number: int, output_tokens: int) -> None:
        """A request ended by itself."""
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

    def finished(self, number: int, output_tokens: int) -> None:
        """Record the outcome."""
        self._predictor.record(self._vectors.pop(number), output_tokens, True)

    def _embed(self, request: TraceRequest) -> Any:
        """Without a text only the prompt's length speaks, about 4 characters a token."""
        text = request.text or " " * (4 * len(request.prompt))
        vector = self._embedded.pop(text, None)
        if vector is None:
            vector = self._predictor.embed([text])[0]
        self._embedded[text] = vector
        if len(self._embedded) > REMEMBERED_PROMPTS:
            self._embedded.popitem(last=False)
        return vector


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

    def finished(self, number: int, output_tokens: int) -> None:
        """Nothing to learn."""


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

    def finished(self, number: int, output_tokens: int) -> None:
        """Record the outcome."""
        self._predictor.record(self._nothing, output_tokens, True)


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

    def finished(self, number: int, output_tokens: int) -> None:
        """Nothing to learn."""


PREDICTORS = ("shipped", "law", "prior", "oracle")


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
    raise ValueError(f"--predictor {name}: expected one of {', '.join(PREDICTORS)}")
