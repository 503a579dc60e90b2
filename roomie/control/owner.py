"""What a membership in the group of controllers asks of its controller."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Protocol

from dataflow.transport import Received


class ResignedError(Exception):
    """The order was not acted on: another controller will get it."""


class Owner(Protocol):
    """Who is told. All methods are called from Faust's thread, and return at once."""

    def assigned(self) -> None:
        """It is the one that decides from now on."""
        ...

    def revoked(self) -> threading.Event:
        """It must not decide any more; the event is set when it has stopped."""
        ...

    def obey(self, record: Received) -> Future[None]:
        """Act on an order; done when that is written, `ResignedError` when it never will be."""
        ...
