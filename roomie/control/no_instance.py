"""Why a request has found no instance: what to tell who asked. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from roomie.control.records import Placement


def explain(
    model: str,
    wait: float,
    placements: Mapping[str, Placement] | None,
    *,
    errors: Sequence[str] = (),
    fault: str | None = None,
) -> str:
    """Why there was no instance, and the remedy.

    Args:
        model: that was asked for.
        wait: seconds for which one was looked for.
        placements: of all models; None where they could not be read.
        errors: of the instances that were asked, the last one last.
        fault: why the placements cannot be read, where that is known.
    """
    if errors:
        return (
            f"no instance of {model} has answered within {wait:g} s; the last error: {errors[-1]}"
        )
    if placements is None:
        return (
            f"the placements could not be read within {wait:g} s"
            f"{'' if fault is None else f': {fault}'}\n"
            "  remedy: see that the broker runs and that `videojam topics apply` was done"
        )
    placement = placements.get(model)
    if placement is None:
        return (
            f"the model {model!r} is not deployed (deployed: "
            f"{', '.join(sorted(placements)) or 'none'})\n"
            f"  remedy: videojam deploy {model}"
        )
    states = Counter(placed.state for placed in placement.instances)
    shown = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return (
        f"no instance of {model} was ready within {wait:g} s; its placement has "
        f"{shown or 'none'}{'' if placement.deferred is None else f': {placement.deferred}'}\n"
        "  remedy: `videojam gpus` shows where they are"
    )
