"""The first process of a server with several tokenizer workers, before it starts them.

It only routes; the workers tokenize, predict and learn, each with a service of its own
(``tokenizer_start.py``).
"""

from __future__ import annotations

from typing import Any

from sagesched.plugin.hook import Hook
from sagesched.plugin.modes import require_supported_mode
from sagesched.plugin.settings import predicts


def init(original: Any, self: Any, server_args: Any, *args: Any, **kwargs: Any) -> Any:
    """Verify, prepare the workers' environment, then let SGLang go on."""
    from sagesched.plugin.verify import is_wanted, settings_in_force  # it lists this hook, too

    if is_wanted(server_args.schedule_policy):
        from sagesched.plugin.workers import prepare_workers

        require_supported_mode(server_args)
        settings = settings_in_force(server_args.schedule_policy)
        if predicts(server_args.schedule_policy):
            prepare_workers(settings)
    return original(self, server_args, *args, **kwargs)


HOOK = Hook(
    target="sglang.srt.managers.multi_tokenizer_mixin.MultiTokenizerRouter.__init__",
    fn=init,
    reason="have several tokenizer workers load plug-ins and share a history",
    parameters=("self", "server_args"),
)
