"""How long a server waits for a batch to fill, by how fast requests come.

A server that is busy collects the next batch while it computes: it needs no window. One that is
idle half of the time and waits for more answers later than it could, and what it saves, it does not
need. In between, fewer and fuller batches leave more of the GPU to the neighbours.
"""

from __future__ import annotations


def batching_window(
    arrivals_per_s: float, batch: int, latency_s: float | None, compute_s: float
) -> float:
    """Seconds that a server should wait for a batch to fill (Triton's queue delay).

    The share of its time that an instance computes, were all its batches full, is the share of a
    batch's time that it may wait; never longer than the batch takes to fill, nor than its latency
    objective leaves; and not at all where, in that time, less than one more request is expected.

    Args:
        arrivals_per_s: items a second that come to the instance.
        batch: its largest batch.
        latency_s: most that an answer may take, waiting included; None for no objective.
        compute_s: that a full batch takes, interference included.

    Returns:
        0 or more, and no more than ``compute_s``.
    """
    if arrivals_per_s <= 0 or batch <= 1 or compute_s <= 0:
        return 0.0
    load = min(1.0, arrivals_per_s * compute_s / batch)
    longest = load * compute_s
    if latency_s is not None:
        longest = min(longest, max(0.0, latency_s - compute_s))
    if arrivals_per_s * longest < 1:
        return 0.0
    return min(longest, (batch - 1) / arrivals_per_s)
