"""What each of several HTTP workers loads: SGLang's app, once our plug-in is in force there.

SGLang loads plug-ins in the processes it starts itself; these are started by uvicorn, which only
imports the app that ``SGLANG_HTTP_SERVER_APP_PATH`` names. ``workers.py`` makes it name this one.
Whether all hooks are in force is verified when the worker's tokenizer starts.
"""

from __future__ import annotations

import os
import pkgutil

from sglang.srt.plugins import load_plugins

from sagesched.plugin.workers import APP_VARIABLE

load_plugins()
app = pkgutil.resolve_name(os.environ[APP_VARIABLE])
