"""Where a camera's frames enter the pipelines."""

from __future__ import annotations

from dataclasses import dataclass

from dataflow.config import Config, TopicNames
from dataflow.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where the frames of one pipeline enter.

    Attributes:
        pipeline: its name.
        step: id of its first step.
        topic: work topic of that step's function.
        spread: the function's items are dealt round all partitions, not kept by camera.
    """

    pipeline: str
    step: str
    topic: str
    spread: bool


def routes_for(config: Config, kind: str) -> tuple[Route, ...]:
    """Where the frames of a camera of this kind go: one route for each pipeline that takes it.

    Raises:
        ConfigError: no pipeline takes it.
    """
    pipelines = config.pipelines_for(kind)
    if not pipelines:
        raise ConfigError(
            "no pipeline takes cameras of this kind",
            key="kind",
            value=kind,
            remedy=f"kinds that the pipelines name: {', '.join(config.camera_kinds)}",
        )
    names = TopicNames(config.deployment)
    routes = []
    for pipeline in pipelines:
        first = config.pipelines[pipeline].steps[0]
        routes.append(
            Route(
                pipeline=pipeline,
                step=first.name,
                topic=names.work(first.function),
                spread=config.functions[first.function].partitioning == "spread",
            )
        )
    return tuple(routes)
