"""Triton's client where the metrics beside it are not what they should be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from roomie.triton.grpc import GrpcTriton


@contextmanager
def answering(words: bytes) -> Iterator[str]:
    """A server that answers each request with the same bytes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(words)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/metrics"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


OK = b"HTTP/1.1 200 OK\r\n"
METRIC = b'nv_inference_pending_request_count{model="m",version="1"} 3\n'


@pytest.mark.parametrize(
    ("words", "pending"),
    [
        (OK + b"\r\n" + METRIC, {"m": 3}),
        (OK + b"Content-Length: 9999\r\n\r\n" + METRIC, None),  # IncompleteRead
        (b"what?\r\n\r\n", None),  # BadStatusLine
        (b"", None),  # RemoteDisconnected
        (b"HTTP/1.1 500 Oh\r\n\r\n", None),
        (OK + b"\r\n" + b'nv_inference_pending_request_count{model="m" 3\n', None),
    ],
)
def test_metrics_that_cannot_be_read_are_none(words: bytes, pending: dict[str, int] | None) -> None:
    with answering(words) as url:
        client = GrpcTriton("127.0.0.1:1", metrics_url=url)
        assert client._pending() == pending
        client.close()
