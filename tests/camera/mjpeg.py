"""A network camera: motion JPEG over HTTP, which hangs up after some frames."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.camera.conftest import jpeg

BOUNDARY = "frame"


class MjpegServer:
    """Serves ``frames`` numbered pictures to each caller, then hangs up.

    Attributes:
        calls: how often somebody called.
    """

    def __init__(self, *, frames: int, status: int = 200) -> None:
        owner = self
        self.calls = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.calls += 1
                self.send_response(status)
                self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
                self.end_headers()
                try:
                    for number in range(frames):
                        data = jpeg(number % 20, width=640)
                        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                        head += f"Content-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")
                except ConnectionError:
                    return  # the viewer went first

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/video.mjpg"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
