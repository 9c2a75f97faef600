"""Who may ask: everybody on this machine, or whoever has the token."""

from __future__ import annotations

import hmac
import ipaddress

TOKEN_VARIABLE = "SAGESCHED_PREDICTOR_TOKEN"


def is_loopback(host: str) -> bool:
    """Whether a listening address is reachable from this machine only; a name is not believed."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_token(host: str, token: str | None) -> None:
    """Refuse to serve prompts of others to anybody on the network.

    Raises:
        ValueError: the token is missing where it is needed, or cannot be sent in a header.
    """
    if token is None:
        if not is_loopback(host):
            raise ValueError(
                f"--host {host} can be reached from other machines, so a token is needed: set "
                f"{TOKEN_VARIABLE} (for example to the output of `openssl rand -hex 32`), or "
                "listen on 127.0.0.1"
            )
    elif not token or not token.isascii() or not token.isprintable() or token != token.strip():
        raise ValueError(
            f"the token ({TOKEN_VARIABLE} or --token) must be printable ASCII, not empty and "
            "without spaces around it, since it is sent in a header"
        )


def is_authorized(header: bytes | None, token: str | None) -> bool:
    """Whether an Authorization header has the token; in a time that tells nothing about it."""
    if token is None:
        return True
    scheme, _, sent = (header or b"").partition(b" ")
    right = hmac.compare_digest(sent.strip(), token.encode())
    return right and scheme.lower() == b"bearer"
