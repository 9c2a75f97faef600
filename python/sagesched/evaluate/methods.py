"""Predictors that learn request by request: ours, and what it must beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sagesched.lengths import Floats, LengthGrid
from sagesched.predict import LengthPredictor
from sagesched.predict.base import Embedder, Vectors
from sagesched.predict.features import FEATURES

TOP = 30
LEAST_SIMILARITY = 0.8
GBM_REFIT = 1.25
"""The trees are grown anew when there are a quarter more requests."""
GBM_LEAST = 50


@dataclass(frozen=True)
class Request:
    """What is known of a request before it ends; `vector` is from ``LengthPredictor.embed``."""

    vector: Vectors
    group: str = ""
    tenant: str = ""


class Method(Protocol):
    """Predicts, then learns."""

    def predict(self, requests: Sequence[Request]) -> Floats:
        """float64[n, m] on the grid."""
        ...

    def learn(self, request: Request, tokens: int, finished: bool = True) -> None:
        """The request ended after so many tokens: by itself, or cut off."""
        ...


class Ours:
    """``sagesched.predict``."""

    def __init__(self, embedder: Embedder, grid: LengthGrid) -> None:
        self._predictor = LengthPredictor(embedder, grid)

    def predict(self, requests: Sequence[Request]) -> Floats:
        """See `Method`."""
        vectors = np.stack([request.vector for request in requests])
        groups = [request.group for request in requests]
        tenants = [request.tenant for request in requests]
        return np.stack([law.pmf for law in self._predictor.predict_from(vectors, groups, tenants)])

    def learn(self, request: Request, tokens: int, finished: bool = True) -> None:
        """See `Method`."""
        vector, group, tenant = request.vector, request.group, request.tenant
        self._predictor.record(vector, tokens, finished, group, tenant)


class _FromHistory:
    """All past lengths are kept, and some of them chosen; each counts once.

    Lengths sit on the right edges of their bins; before the first one every bin is as likely.
    A length that was cut off is taken for a whole one.
    """

    def __init__(self, embedder: Embedder, grid: LengthGrid) -> None:
        self._grid = grid
        self._dim = embedder.dim
        self._size = 0
        self._kept_vectors: Vectors = np.zeros((256, embedder.dim + FEATURES), dtype=np.float32)
        self._kept_bins = np.zeros(256, dtype=np.int64)

    @property
    def _vectors(self) -> Vectors:
        return self._kept_vectors[: self._size]

    @property
    def _bins(self) -> Any:
        return self._kept_bins[: self._size]

    def learn(self, request: Request, tokens: int, finished: bool = True) -> None:
        """See `Method`."""
        if self._size == len(self._kept_bins):
            self._kept_vectors = np.concatenate([self._kept_vectors, self._kept_vectors])
            self._kept_bins = np.concatenate([self._kept_bins, self._kept_bins])
        self._kept_vectors[self._size] = request.vector
        self._kept_bins[self._size] = self._grid.bin_of(tokens)
        self._size += 1

    def predict(self, requests: Sequence[Request]) -> Floats:
        """See `Method`."""
        if not self._size:
            return np.full((len(requests), len(self._grid)), 1.0 / len(self._grid))
        asked = np.stack([request.vector for request in requests])
        return np.stack([self._pmf(self._bins[of]) for of in self._chosen(asked)])

    def _pmf(self, bins: Any) -> Floats:
        return np.bincount(bins, minlength=len(self._grid)) / len(bins)

    def _similarity(self, asked: Vectors) -> Floats:
        past = self._vectors[:, : self._dim]
        return np.asarray(asked[:, : self._dim] @ past.T, dtype=np.float64)

    def _chosen(self, asked: Vectors) -> list[Any]:
        raise NotImplementedError


class Global(_FromHistory):
    """The history-wide law."""

    def _chosen(self, asked: Vectors) -> list[Any]:
        return [slice(None)] * len(asked)


class Published(_FromHistory):
    """SageSched's predictor (arXiv 2603.07917, section 3.1): cosine of at least 0.8, unweighted.

    Everybody where nobody is so similar. Without its 10 buckets of 200 tokens, which cost it
    a third of its score.
    """

    def _chosen(self, asked: Vectors) -> list[Any]:
        near = self._similarity(asked) >= LEAST_SIMILARITY
        return [row if row.any() else slice(None) for row in near]


class TopK(_FromHistory):
    """The 30 nearest, unweighted."""

    def _chosen(self, asked: Vectors) -> list[Any]:
        similarity = self._similarity(asked)
        k = min(TOP, similarity.shape[1])
        return list(np.argpartition(-similarity, k - 1, axis=1)[:, :k])


class Gbm(_FromHistory):
    """Gradient-boosted trees on the prompt's features, and the errors they make; scikit-learn.

    Grown anew from time to time; the law is a prediction of ln(length) and its out-of-fold errors.

    Raises:
        ImportError: scikit-learn is not installed.
    """

    def __init__(self, embedder: Embedder, grid: LengthGrid) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        super().__init__(embedder, grid)
        self._make = HistGradientBoostingRegressor
        self._model: Any = None
        self._errors: Floats = np.zeros(1)
        self._fitted = 0

    def predict(self, requests: Sequence[Request]) -> Floats:
        """See `Method`."""
        if self._size < GBM_LEAST:
            return super().predict(requests)
        if self._size >= GBM_REFIT * self._fitted:
            self._fit()
        features = np.stack([request.vector[-FEATURES:] for request in requests])
        edges = np.log(self._grid.edges)
        laws = []
        for at in self._model.predict(features):
            bins = np.minimum(np.searchsorted(edges, at + self._errors), len(self._grid) - 1)
            laws.append(self._pmf(bins))
        return np.stack(laws)

    def _chosen(self, asked: Vectors) -> list[Any]:
        return [slice(None)] * len(asked)

    def _fit(self) -> None:
        self._fitted = self._size
        features = self._vectors[:, -FEATURES:]
        target = np.log(self._grid.edges)[self._bins]
        fold = np.arange(self._fitted) % 4
        errors = np.empty(self._fitted)
        for held in range(4):
            model = self._new().fit(features[fold != held], target[fold != held])
            errors[fold == held] = target[fold == held] - model.predict(features[fold == held])
        self._errors, self._model = errors, self._new().fit(features, target)

    def _new(self) -> Any:
        return self._make(
            max_iter=60, learning_rate=0.05, max_leaf_nodes=8, min_samples_leaf=20,
            l2_regularization=5.0, random_state=0, early_stopping=False,
        )  # fmt: skip


METHODS: dict[str, Callable[[Embedder, LengthGrid], Method]] = {
    "sagesched": Ours,
    "published": Published,
    "global": Global,
    "topk": TopK,
    "gbm": Gbm,
}
