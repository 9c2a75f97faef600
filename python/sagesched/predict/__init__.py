"""Prediction of output lengths: embedders, the history, the predictor and its worker thread.

Importing this package imports numpy only; an embedder's dependencies load when it is made.
"""

from __future__ import annotations

from sagesched.predict.base import Embedder, sample_text
from sagesched.predict.config import PredictorConfig
from sagesched.predict.history import History
from sagesched.predict.predictor import LengthPredictor
from sagesched.predict.registry import embedder_names, make_embedder
from sagesched.predict.service import PredictionService
from sagesched.predict.stats import ServiceStats
from sagesched.predict.store.options import HistoryOptions

__all__ = [
    "Embedder",
    "History",
    "HistoryOptions",
    "LengthPredictor",
    "PredictionService",
    "PredictorConfig",
    "ServiceStats",
    "embedder_names",
    "make_embedder",
    "sample_text",
]
