"""An https receiver that shares no code with the project: standard library, and a certificate by trustme."""

from __future__ import annotations

import queue
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme


@dataclass(frozen=True)
class Request:
    """What arrived; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Receiver:
    """Where to send, what to trust, and what came."""

    url: str
    authority: bytes
    arrived: queue.SimpleQueue[Request]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Listen on loopback until the block ends, and answer every POST with 200."""
    arrived: queue.SimpleQueue[Request] = queue.SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.put(Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Receiver(f"https://127.0.0.1:{server.server_port}/push", authority.cert_pem.bytes(), arrived)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
