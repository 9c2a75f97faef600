"""What the history knows after the learning part: predicted against real lengths.

The server does not tell its predictions, so the same predictor is fed the same learning part
here, in the client. (The server goes on learning during the timed part; this one does not.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .workload import Request, Workload

BATCH = 64
GRID_TOKENS = 8192
LOW, HIGH = 0.1, 0.9


@dataclass(frozen=True)
class Prediction:
    """Length predicted for one request, in tokens: mean, median, and the P10 to P90 range."""

    mean: float
    median: float
    low: float
    high: float

    def covers(self, tokens: int) -> bool:
        """Whether a real length lies in the range."""
        return self.low <= tokens <= self.high


def predict_timed(workload: Workload) -> tuple[list[Prediction] | None, str]:
    """Predictions for the timed part after the learning part, and a note on how.

    Without an importable predictor there are none, and the note says why.
    """
    try:
        from sagesched.lengths import LengthGrid
        from sagesched.predict import LengthPredictor, make_embedder
    except ImportError as error:
        return None, f"No predictions: the predictor cannot be imported ({error})."
    predictor = LengthPredictor(make_embedder(), LengthGrid(GRID_TOKENS))
    vectors = _embed(predictor.embed, workload.learning)
    for request, vector in zip(workload.learning, vectors, strict=True):
        predictor.record(vector, request.output_tokens, True)
    predictions = []
    for distribution in predictor.predict_from(_embed(predictor.embed, workload.timed)):
        capped = distribution.capped(workload.max_new_tokens)
        median, low, high = (float(capped.quantile(q)) for q in (0.5, LOW, HIGH))
        predictions.append(Prediction(capped.mean(), median, low, high))
    return predictions, (
        "Predicted by the server's predictor, fed the same learning part "
        f"({len(workload.learning)} requests) in the client."
    )


def _embed(embed: Callable[[Sequence[str]], Any], requests: Sequence[Request]) -> Any:
    """Vectors [n, dim] of the prompts, a batch at a time."""
    import numpy as np

    texts = [r.text for r in requests]
    parts = [embed(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)]
    return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)
