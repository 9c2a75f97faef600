"""Where the tokenizer process is wired: the prediction service starts with its manager.

Where nothing is predicted (larry) this only verifies, and no other hook of that process does
anything.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from sagesched.lengths import LengthGrid
from sagesched.plugin import metrics
from sagesched.plugin.errors import NotInForceError
from sagesched.plugin.hook import Hook
from sagesched.plugin.modes import require_supported_mode
from sagesched.plugin.settings import Settings, predicts
from sagesched.plugin.state import STATE, TokenizerState

START_TIMEOUT_S = 120.0
READING_S = 0.003
"""For each record of a history file on top of that: ten times what it mostly takes."""
FOLLOWING_SHARE = 10.0
"""How many times longer a prediction may take that nobody waits for: in a burst its request is in
the queue meanwhile."""
SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep Python from another one that wants it; Python's default is 5 ms, for
which the event loop would wait whenever it meets a prediction being made
(`bench/results/event_loop.md`). It holds for the whole process: with ``Engine``, the user's."""
logger = logging.getLogger("sagesched")


def init(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """After SGLang's own constructor, with a model and its context length known."""
    result = original(self, *args, **kwargs)
    from sagesched.plugin.verify import is_wanted, settings_in_force  # it lists this hook, too

    if not is_wanted(self.server_args.schedule_policy):
        return result
    settings = settings_in_force(self.server_args.schedule_policy)
    require_supported_mode(self.server_args)
    if not predicts(self.server_args.schedule_policy):
        return result
    if self.enable_metrics:
        metrics.enable()
    setattr(self, STATE, make_state(settings, self))
    return result


def make_state(settings: Settings, manager: Any) -> TokenizerState:
    """Start the service; a predictor that cannot be built stops the server."""
    from sagesched.predict import (
        HistoryOptions,
        LengthPredictor,
        PredictionService,
        make_embedder,
    )

    context_length = int(manager.model_config.context_len)
    name = settings.embedder
    if name == "auto" and manager.tokenizer is None:
        name = "hashed"  # ids are hashed whatever it is; so into more dimensions

    def make_predictor() -> LengthPredictor:
        embedder = make_embedder(name, manager.model_path)
        return LengthPredictor(
            embedder, LengthGrid(context_length), capacity=settings.history_records
        )

    history, patience = None, START_TIMEOUT_S
    if settings.history_file is not None:
        history = HistoryOptions(
            settings.history_file, settings.history_records, settings.store_prompts
        )
        patience += READING_S * settings.history_records
    ahead = _predicts_ahead(manager)
    deadline_s = settings.deadline_s * (1.0 if ahead else FOLLOWING_SHARE)
    service = PredictionService(make_predictor, deadline_s=deadline_s, history=history)
    if not service.wait_ready(patience):
        reason = service.snapshot().failure or f"not ready within {patience:g} s"
        raise NotInForceError(
            f"--schedule-policy gittins: the length predictor cannot be built ({reason}).\n"
            "Check SAGESCHED_EMBEDDER; `sagesched doctor` shows what is installed."
        )
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
    logger.info("sagesched: predicting with the embedder %s", service.snapshot().embedder)
    return TokenizerState(service, context_length, settings.tenant, ahead)


def _predicts_ahead(manager: Any) -> bool:
    """Whether requests wait for their predictions: where a controller reads them, where other
    servers go on with the request, and where no message could follow it."""
    args = manager.server_args
    several = args.dp_size > 1 or args.disaggregation_mode not in (None, "null")
    return several or not hasattr(manager, "_dispatch_to_scheduler")


HOOK = Hook(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager.__init__",
    fn=init,
    reason="start the prediction service beside the tokenizer",
    parameters=("self", "server_args"),
)
