"""Where a scheduler process is wired: its policy object gets our state, or stays stock."""

from __future__ import annotations

import logging
from typing import Any

from sagesched._version import __version__
from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin import metrics
from sagesched.plugin.hook import Hook
from sagesched.plugin.modes import require_supported_mode
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.settings import POLICY, read_settings
from sagesched.plugin.state import STATE, SchedulerState
from sagesched.predict.defaults import cold_start_pmf

logger = logging.getLogger("sagesched")


def init_schedule_policy(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """Build the order once the scheduler knows its model and its limits."""
    result = original(self, *args, **kwargs)
    if self.schedule_policy != POLICY:
        return result
    require_supported_mode(self.server_args)
    settings = read_settings()
    slots = self.max_running_requests
    cost = settings.cost or CostModel.of_engine(self.max_total_num_tokens, slots)
    grid = LengthGrid(self.model_config.context_len)
    prior = LengthDistribution(grid, cold_start_pmf(grid))
    if self.metrics_reporter.current_scheduler_metrics_enabled:
        metrics.enable()
    state = SchedulerState(lambda: QueueOrder(prior, cost, settings.dial), slots)
    setattr(self.policy, STATE, state)
    logger.info("sagesched %s: gittins in force, dial %g, %s", __version__, settings.dial, cost)
    return result


HOOK = Hook(
    target="sglang.srt.managers.scheduler.Scheduler.init_schedule_policy",
    fn=init_schedule_policy,
    reason="give the scheduler's policy object our order",
    parameters=("self",),
)
