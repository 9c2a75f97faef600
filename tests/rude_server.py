"""A server that reports loads, reads a request, says what it was told to, and hangs up."""

from __future__ import annotations

import json
import socketserver
import threading

from .fake_sglang import MOST_RUNNING, POOL

LOAD = {
    "num_running_reqs": 0,
    "num_waiting_reqs": 0,
    "num_waiting_uncached_tokens": 0,
    "num_used_tokens": 0,
    "max_total_num_tokens": POOL,
    "max_running_requests": MOST_RUNNING,
}


class RudeServer(socketserver.ThreadingTCPServer):
    """As a context manager.

    Args:
        words: sent to whoever POSTs, before the connection is closed.

    Attributes:
        posts: requests so far.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, words: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.words = words
        self.posts = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> RudeServer:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    server: RudeServer

    def handle(self) -> None:
        line = self.rfile.readline()
        length = 0
        while (header := self.rfile.readline().strip().lower()) != b"":
            if header.startswith(b"content-length:"):
                length = int(header.split(b":")[1])
        self.rfile.read(length)
        if line.startswith(b"POST"):
            self.server.posts += 1
            self.wfile.write(self.server.words)
            return
        body = json.dumps({"loads": [LOAD]}).encode()
        head = f"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)
