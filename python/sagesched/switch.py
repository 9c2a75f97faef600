"""``sagesched switch URL``: change a running server's policy and dial, and say what is in force."""

from __future__ import annotations

import argparse
import json
import math
import sys
import urllib.error
import urllib.request
from typing import Any

from sagesched.plugin.control import Change, as_values
from sagesched.plugin.settings import POLICIES, POLICY, STOCK

TIMEOUT_S = 60.0
DESCRIPTION = f"""\
Change the policy and the dial of a running server without a restart, in all of its schedulers, and
print what is in force in each. Without --dial and --policy it only prints. The server must have
been started with that --schedule-policy, or with --schedule-policy {STOCK} and SAGESCHED_SHADOW=1,
which looks on for {POLICY}.
"""


class SwitchError(RuntimeError):
    """The server cannot be switched; the message says why and what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("url", help="the server, such as http://127.0.0.1:30000")
    parser.add_argument(
        "--policy", choices=(*POLICIES, STOCK), help=f"{STOCK} gives the queue back to stock SGLang"
    )
    parser.add_argument(
        "--dial", type=_dial, help="0 = first come, first served ... inf = pure Gittins order"
    )
    parser.add_argument("--api-key", default="", help="bearer token; the admin key, if any")


def run(options: argparse.Namespace) -> int:
    """Switch and print; 1 when the server refuses or cannot be reached."""
    in_force = None if options.policy is None else options.policy != STOCK
    policy = POLICY if not in_force else options.policy
    try:
        states = switch(options.url, Change(in_force, options.dial, policy), options.api_key)
    except SwitchError as error:
        print(f"sagesched switch: {error}", file=sys.stderr)
        return 1
    for state in sorted(states, key=lambda state: int(state.get("replica", 0))):
        print(
            f"replica {state.get('replica')}: {state.get('policy')}, dial {_shown(state)}, "
            f"order {state.get('order')}, {state.get('waiting')} waiting, parking "
            f"{state.get('parking')}, admission {state.get('admission')}"
        )
    return 0


def switch(url: str, change: Change, api_key: str = "") -> list[dict[str, Any]]:
    """Make a change, or none, and read back what is in force in each replica.

    Raises:
        SwitchError: the server does not answer, is not ours, or refused the change.
    """
    before = in_force(url, api_key)[0].get("started_with", change.policy)  # is it ours?
    if change.in_force and change.policy != before:
        raise SwitchError(f"{url} was started for {before}; it cannot change to {change.policy}")
    values = as_values(change)
    if values:
        done = _call(url, "/set_internal_state", api_key, {"server_args": values})
        if done is not True and not (isinstance(done, list) and done and all(done)):
            raise SwitchError(f"the server refused the change ({done}); its log says why")
    return in_force(url, api_key)


def in_force(url: str, api_key: str = "") -> list[dict[str, Any]]:
    """What each data-parallel replica of a server says of itself.

    Raises:
        SwitchError: as `switch`.
    """
    info = _call(url, "/server_info", api_key)
    states = info.get("internal_states") if isinstance(info, dict) else None
    told = [state.get("sagesched") for state in states or [] if isinstance(state, dict)]
    found = [state for state in told if isinstance(state, dict)]
    if not found or len(found) < len(told):
        raise SwitchError(
            f"{url} does not run sagesched; start it with --schedule-policy {POLICY}, or with "
            f"--schedule-policy {STOCK} and SAGESCHED_SHADOW=1 to look on first"
        )
    return found


def _call(url: str, path: str, api_key: str, body: Any = None) -> Any:
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(url.rstrip("/") + path, data, headers)
        if request.type not in ("http", "https"):
            raise ValueError(f"unknown protocol {request.type}")
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise SwitchError(f"{url} wants an API key; give it with --api-key") from None
        raise SwitchError(f"{url}{path} answered with status {error.code}") from None
    except (OSError, ValueError) as error:
        raise SwitchError(f"{url} does not answer as an SGLang server does ({error})") from None


def _shown(state: dict[str, Any]) -> str:
    return f"{float(state.get('dial', math.nan)):g}"


def _dial(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of at least 0, or inf")
    return value
