"""How long a server waits for a batch to fill, by how fast requests come.

A server that is busy collects the next batch while it computes, so batches fill by themselves when
there is much to do, and an idle server that waits answers later than it could. Measured over
emulated GPUs (docs/control-plane-evaluation.md), waiting raised response times at every load, up to
the highest, and lowered only the use of the GPUs. So nobody waits unless an objective says that an
answer may take longer; then what it leaves is spent on fuller batches, which leave more of the GPU
to the neighbours.
"""

from __future__ import annotations


def batching_window(
    arrivals_per_s: float, batch: int, latency_s: float | None, compute_s: float
) -> float:
    """Seconds that a server should wait for a batch to fill (Triton's queue delay).

    At most what the latency objective leaves after a full batch's time, times the share of its time
    that the instance would compute if all batches were full: an idle server has no reason to wait.
    Never longer than the batch takes to fill, and not at all where, in that time, less than one
    more request is expected.

    Args:
        arrivals_per_s: items a second that come to the instance.
        batch: its largest batch.
        latency_s: most that an answer may take, waiting included; None for no objective.
        compute_s: that a full batch takes, interference included.

    Returns:
        0 or more; with ``compute_s`` no more than ``latency_s``.
    """
    if latency_s is None or arrivals_per_s <= 0 or batch <= 1 or compute_s <= 0:
        return 0.0
    load = min(1.0, arrivals_per_s * compute_s / batch)
    longest = load * max(0.0, latency_s - compute_s)
    if arrivals_per_s * longest < 1:
        return 0.0
    return min(longest, (batch - 1) / arrivals_per_s)
