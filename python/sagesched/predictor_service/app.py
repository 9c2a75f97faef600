"""The routes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from sagesched._version import __version__
from sagesched.predictor_service.engine import Engine, NotReadyError, UnknownKeysError
from sagesched.predictor_service.guard import Guard
from sagesched.predictor_service.metrics import Metrics
from sagesched.predictor_service.schema import (
    Health,
    IngestBody,
    Ingested,
    Invalid,
    Models,
    PredictBody,
    Prediction,
    Problem,
    well_formed,
)

MOST_ERRORS = 10
SHOWN_CHARS = 200
_TRIED = re.compile(r"^(one|list|by key|by prompt|str)$|\[|\(")

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {
        "model": Problem,
        "description": "The body cannot be decoded: not UTF-8, nested too deeply, or a number of "
        "thousands of digits.",
    },
    401: {"model": Problem, "description": "The token is missing or wrong, where one is set."},
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Invalid, "description": "The body is no JSON, or not what it must be."},
    503: {"model": Problem, "description": "The predictor is loading, or could not be built."},
}
_PAGE = {
    "description": "In Prometheus' text format.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
_UNKNOWN_KEY: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "A key is not known; nothing was learned."}
}


def create_app(engine: Engine, token: str | None = None) -> Guard:
    """The service as an ASGI application.

    Args:
        engine: what predicts; closed when the application shuts down.
        token: that every request but /health must bring; None asks for none.
    """
    metrics = Metrics(engine.snapshot)
    app = FastAPI(
        title="SageSched predictor",
        version=__version__,
        summary="Output-length distributions of requests to language models.",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        lifespan=_closing(engine),
    )
    app.state.engine, app.state.metrics = engine, metrics
    app.include_router(router)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(UnknownKeysError, _unknown_keys)
    app.add_exception_handler(NotReadyError, _not_ready)
    return Guard(app, token, metrics)


def _closing(engine: Engine) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        engine.close()

    return lifespan


router = APIRouter()
_TOKEN = [
    # The guard asks for it, before a route is found.
    Security(HTTPBearer(auto_error=False, description="The service's token, where one is set."))
]


@router.post("/predict", responses=_ERRORS, dependencies=_TOKEN)
async def predict(body: PredictBody, request: Request) -> Prediction | list[Prediction]:
    """Predict the output length of one request, or of each in a list."""
    engine: Engine = request.app.state.engine
    asked = body if isinstance(body, list) else [body]
    answers = await engine.predict(asked)
    for answer in answers:
        request.app.state.metrics.answered(answer.fallback_level)
    return answers if isinstance(body, list) else answers[0]


@router.post("/ingest", responses={**_ERRORS, **_UNKNOWN_KEY}, dependencies=_TOKEN)
async def ingest(body: IngestBody, request: Request) -> Ingested:
    """Learn how one request ended, or each in a list: all of them or, after an error, none."""
    engine: Engine = request.app.state.engine
    outcomes = body if isinstance(body, list) else [body]
    await engine.ingest(outcomes)
    return Ingested(accepted=len(outcomes))


@router.get("/models", responses={401: _ERRORS[401], 503: _ERRORS[503]}, dependencies=_TOKEN)
async def models(request: Request) -> Models:
    """What predictions are made from."""
    engine: Engine = request.app.state.engine
    return engine.models()


@router.get("/health", responses={503: {"model": Health, "description": "Not ready."}})
async def health(request: Request, response: Response) -> Health:
    """Whether predictions can be had; needs no token."""
    engine: Engine = request.app.state.engine
    found = engine.health()
    response.status_code = 200 if found.status == "ready" else 503
    return found


@router.get(
    "/metrics",
    responses={200: _PAGE, 401: _ERRORS[401]},
    response_class=Response,
    dependencies=_TOKEN,
)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(request.app.state.metrics.page(), media_type=CONTENT_TYPE_LATEST)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """What is wrong and where; not what was sent, which may be a prompt and need not be JSON."""
    if not isinstance(error, RequestValidationError):
        raise error
    detail = [
        {"loc": _where(found["loc"]), "msg": _shown(found["msg"])}
        for found in error.errors()[:MOST_ERRORS]
    ]
    return JSONResponse({"detail": detail}, status_code=422)


def _where(parts: Sequence[str | int]) -> list[str | int]:
    """Fields and places in lists; not which of several types was tried."""
    return [_shown(part) for part in parts if not (isinstance(part, str) and _TRIED.search(part))]


def _shown(part: str | int) -> str | int:
    return str(well_formed(part[:SHOWN_CHARS])) if isinstance(part, str) else part


async def _unknown_keys(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=404)


async def _not_ready(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": "1"})
