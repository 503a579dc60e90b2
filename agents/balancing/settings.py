"""Parameters of the balancers. Each default is written here once; docs/balancing.md explains them.

Defaults that the thesis does not give, or that differ from it, were measured with
`evaluation.simulation`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancingSettings:
    """How a replica balances.

    Attributes:
        as_printed: as the thesis prints it: one policy a period and none in between, so `react`
            counts for nothing; what is in the function is nobody's load; an offload goes on under
            the policy that it began with; and each one that its receiver did not expect is
            answered with a signal.
        slot: delta, seconds of a slot.
        slots: k, slots a window, and of a forecast.
        history: h, slots that a forecast is made from.
        period: slots from one policy to the next; k in the thesis.
        lookahead: slots of the forecast, not necessarily whole, that a policy counts and paces its
            offloads over; k in the thesis.
        react: shortest pause in seconds between policies while something waits or there is news,
            in groups of up to a hundred; in proportion longer in larger ones.
        settle: seconds after the start of a slot at which its policy is computed, so that the rows
            that everybody publishes at the start of the slot are in it.
        rounds: windows until a row that is not renewed is unknown.
        liveness: seconds until then; None for `rounds` alone, as the thesis.
        heartbeat: seconds between rows when there is no news; None for none, as the thesis.
        news_seconds: a queue is news when it is so many seconds of work off what the last row
            makes the others believe.
        news_items: and at least so many items.
        news_gap: shortest pause between rows, seconds, in groups of up to ten neighbours; in
            proportion longer in larger ones.
        pace: fraction of the lookahead over which an offload is spread.
        urgent: whether what waits already, beyond the sender's share of all that waits, may leave
            at once; the thesis paces it like the rest.
        hop_limit: how often an item may be offloaded.
        least: items below which a transfer is not worth it.
        link_aware: offload an item only if it is expected to be done earlier there.
        gain: by how many seconds earlier, at least.
        gain_fraction: and by which fraction of the local wait: estimates are never exact, and a
            queue that is as long there as here is no reason to move.
        capacity: items that a replica's queue holds before it drops some; None where it drops
            none, and as the thesis, which shares as if queues had no limit.
        full: fraction of the capacity from which a queue is as good as full: above it an item goes
            where there is room though it is done later there, which is better than never.
        late: how many times longer than the fastest one's full queue, in seconds, those of slower
            replicas may get by that.
        bytes_per_second: most bytes offloaded a second; None for no limit.
        error: relative error of a prediction above which a state update is due.
        relay_rows: rows of others that a signal or an offload carries at most.
    """

    as_printed: bool = False
    slot: float = 1.0
    slots: int = 10
    history: int = 50
    period: int = 1
    lookahead: float = 0.1
    react: float = 0.02
    settle: float = 0.2
    rounds: int = 3
    liveness: float | None = 3.0
    heartbeat: float | None = 1.0
    news_seconds: float = 0.05
    news_items: int = 2
    news_gap: float = 0.05
    pace: float = 0.8
    urgent: bool = True
    hop_limit: int = 2
    least: int = 1
    link_aware: bool = True
    gain: float = 0.002
    gain_fraction: float = 0.2
    capacity: int | None = None
    full: float = 0.9
    late: float = 2.0
    bytes_per_second: float | None = None
    error: float = 0.2
    relay_rows: int = 16

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ValueError: names the parameter; the configuration turns it into its own error.
        """
        positive = ("slot", "slots", "history", "period", "lookahead", "rounds", "hop_limit")
        for name in (*positive, "react", "least", "pace", "full", "late"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")
        for name in (
            "settle",
            "news_seconds",
            "news_items",
            "news_gap",
            "gain",
            "gain_fraction",
            "error",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)!r}")
        for name in ("liveness", "heartbeat", "bytes_per_second", "capacity"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0 or absent, not {value!r}")
        if self.lookahead > self.slots:
            raise ValueError(f"lookahead ({self.lookahead}) reaches beyond slots ({self.slots})")
        if self.full > 1:
            raise ValueError(f"full is a fraction of the capacity, not {self.full!r}")
        if self.pace > 1:
            raise ValueError(f"pace is a fraction of the window, not {self.pace!r}")

    @property
    def most(self) -> int | None:
        """Items from which a queue is as good as full; None without a capacity."""
        return None if self.capacity is None else max(1, int(self.full * self.capacity))

    @classmethod
    def thesis(cls) -> BalancingSettings:
        """As printed: a policy and nothing else every 10 s."""
        return cls(
            as_printed=True,
            period=10,
            lookahead=10.0,
            settle=0.0,
            liveness=None,
            heartbeat=None,
            news_seconds=float("inf"),
            urgent=False,
            link_aware=False,
        )
