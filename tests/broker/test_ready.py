"""Whether a port is taken, and whether somebody answers there."""

from __future__ import annotations

import socket

from dataflow.broker.ready import listens, port_is_free


def test_a_port_counts_as_answering_only_when_connections_are_taken() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        assert not listens("127.0.0.1", port, timeout=10)
        bound.listen(1)
        assert listens("127.0.0.1", port, timeout=10)
        assert listens("0.0.0.0", port, timeout=10)  # noqa: S104 - where a server listens
        assert not port_is_free("127.0.0.1", port)
    assert not listens("127.0.0.1", port, timeout=10)
