"""Front ends without SGLang's ``TokenizerManager``: the Rust server (``SGLANG_RUST_SERVER=1``), the
gRPC servers of smg (``--smg-grpc-mode``).

Their requests are predicted where they come into the scheduler: on the rank that receives them,
before they are sent to the others. The scheduler's loop waits meanwhile, so it waits for a tenth of
the deadline at most.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from sagesched.plugin import fallback
from sagesched.plugin.disaggregation import PREFILL, role_of
from sagesched.plugin.front_end import PROCESS, FrontEnd
from sagesched.plugin.hook import Hook
from sagesched.plugin.hooks import tokenizer_start
from sagesched.plugin.releases import is_receiving_rank
from sagesched.plugin.settings import predicts

DEADLINE_SHARE = 0.1


def maybe_init_rust_server(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """Start the prediction service on the rank that receives from such a front end."""
    result = original(self, *args, **kwargs)
    from sagesched.plugin.verify import is_wanted, settings_in_force  # it lists this hook, too

    policy = self.server_args.schedule_policy
    if not (_is_front_end(self) and is_wanted(policy) and predicts(policy)):
        return result
    settings = settings_in_force(policy)
    settings = replace(settings, deadline_s=settings.deadline_s * DEADLINE_SHARE)
    entry = SimpleNamespace(
        is_generation=self.is_generation,
        model_config=self.model_config,
        model_path=self.model_config.model_path,
        rid_to_state={},
        served_model_name=self.server_args.served_model_name,
        server_args=self.server_args,
        tokenizer=getattr(self, "tokenizer", None),
    )
    made = tokenizer_start.make_state(settings, entry)
    PROCESS.front_end = FrontEnd(made, entry, only_prefills=lambda: role_of(self) == PREFILL)
    return result


def _is_front_end(scheduler: Any) -> bool:
    if getattr(scheduler, "rust_server", None) is not None:
        return True
    args = scheduler.server_args
    return bool(args.smg_grpc_mode or args.grpc_mode) and is_receiving_rank(scheduler)


def broadcast_requests(
    original: Any, self: Any, recv_reqs: list[Any] | None, *args: Any, **kwargs: Any
) -> Any:
    """Predict for what came, then send it to the other ranks."""
    if PROCESS.front_end is not None and recv_reqs:
        try:
            PROCESS.front_end.predict(recv_reqs)
        except Exception as error:
            fallback.report("predict", error)
    return original(self, recv_reqs, *args, **kwargs)


def to_payload(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """A step's outputs are about to be sent: learn from those that ended."""
    output = original(self, *args, **kwargs)
    if PROCESS.front_end is not None and output is not None:
        try:
            PROCESS.front_end.learn(output)
        except Exception as error:
            fallback.report("outcome", error)
    return output


START = Hook(
    target="sglang.srt.managers.scheduler.Scheduler.maybe_init_rust_server",
    fn=maybe_init_rust_server,
    reason="start the prediction service for a front end without a TokenizerManager",
    parameters=("self",),
)
RECEIVED = Hook(
    target="sglang.srt.managers.scheduler_components.request_receiver."
    "SchedulerRequestReceiver._broadcast_reqs_across_ranks",
    fn=broadcast_requests,
    reason="predict requests of such a front end",
    parameters=("self", "recv_reqs"),
)
OUTPUT = Hook(
    target="sglang.srt.managers.scheduler_components.output_streamer."
    "_GenerationStreamAccumulator.to_payload",
    fn=to_payload,
    reason="learn from requests of such a front end that finished",
    parameters=("self",),
)
