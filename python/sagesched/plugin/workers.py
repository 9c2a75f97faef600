"""Several tokenizer workers: what the first process leaves in the environment for them."""

from __future__ import annotations

import logging
import os

from sagesched.plugin.releases import set_worker_app
from sagesched.plugin.settings import Settings
from sagesched.predict.store.temporary import make_temporary_file

WORKER_APP = "sagesched.plugin.http_worker:app"
APP_VARIABLE = "SAGESCHED_HTTP_APP"
"""The app of before: SGLang's, or one with more routes that the operator named."""
logger = logging.getLogger("sagesched")


def prepare_workers(settings: Settings) -> None:
    """Have the workers load plug-ins, and learn from each other."""
    app = set_worker_app(WORKER_APP)
    if app != WORKER_APP:
        os.environ[APP_VARIABLE] = app
    if settings.history_file is None:
        _share_history()


def _share_history() -> None:
    try:
        os.environ["SAGESCHED_HISTORY_FILE"] = str(make_temporary_file())
    except OSError as error:
        logger.warning(
            "sagesched: no temporary history file could be made (%s), so each tokenizer worker "
            "learns from its own requests only. Set SAGESCHED_HISTORY_FILE, see docs/history.md.",
            error,
        )
        return
    logger.info(
        "sagesched: the tokenizer workers share a temporary history, which ends with this server; "
        "SAGESCHED_HISTORY_FILE would keep it."
    )
