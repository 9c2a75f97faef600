"""A server that streams like SGLang, with step times that are known."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DECODE_S, PREFILL_S = 0.003, 0.012


@dataclass
class FakeEngine:
    """Speaks as much of SGLang's HTTP as a calibration needs; a step is a sleep.

    Attributes:
        info: changes to the answer of ``/server_info``.
        busy: whether flushing is refused.
        foreign: prompt tokens that somebody else has computed at every look.
        abort: whether requests are aborted.
        seen: bodies of the requests.
    """

    info: dict[str, Any] = field(default_factory=dict)
    busy: bool = False
    foreign: int = 0
    abort: bool = False
    seen: list[dict[str, Any]] = field(default_factory=list)
    prefilled: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def server_info(self) -> dict[str, Any]:
        return {
            "model_path": "org/fake-1b",
            "version": "0.5.23",
            "max_total_num_tokens": 20_000,
            "max_req_input_len": 4_090,
            "chunked_prefill_size": 2_048,
            "page_size": 1,
            "dp_size": 1,
            "internal_states": [{"effective_max_running_requests_per_dp": 16}],
            **self.info,
        }

    def steps(self, body: dict[str, Any]) -> Iterator[tuple[int, int]]:
        """(request, tokens so far), as they come; a prefill stops all other streams."""
        prompts, tokens = body["input_ids"], body["sampling_params"]["max_new_tokens"]
        with self.lock:
            time.sleep(PREFILL_S)
            self.prefilled += sum(map(len, prompts))
        yield from ((index, 1) for index in range(len(prompts)))
        for token in range(2, tokens + 1):
            with self.lock:
                time.sleep(DECODE_S)
            time.sleep(0)  # let a waiting prefill have the lock
            yield from ((index, token) for index in range(len(prompts)))


def handler_of(engine: FakeEngine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/server_info":
                self._answer(200, engine.server_info())
            elif self.path.startswith("/v1/loads"):
                engine.prefilled += engine.foreign
                self._answer(200, {"loads": [{"total_prefill_uncached_tokens": engine.prefilled}]})
            else:
                self._answer(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == "/flush_cache":
                self._answer(400 if engine.busy else 200, {})
                return
            request = json.loads(body)
            engine.seen.append(request)
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            with contextlib.suppress(OSError):  # the client has seen enough
                self._stream(request)
            self.close_connection = True

        def _stream(self, request: dict[str, Any]) -> None:
            last = request["sampling_params"]["max_new_tokens"]
            for index, token in engine.steps(request):
                reason = {"type": "abort" if engine.abort else "length"}
                meta = {
                    "completion_tokens": token,
                    "cached_tokens": 0,
                    "finish_reason": reason if token == last else None,
                }
                line = json.dumps({"index": index, "meta_info": meta})
                self.wfile.write(f"data: {line}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def _answer(self, status: int, value: Any) -> None:
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
