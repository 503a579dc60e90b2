"""What the tests of autoscaling share: loads, and models whose instances come when asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from roomie.control.scaling_types import Autoscaler, InstanceLoad, ModelLoad, Scale


def instance(
    name: str = "i",
    *,
    speed: float = 100.0,
    pending: float = 0.0,
    arrivals: float = 0.0,
    extra: bool = True,
) -> InstanceLoad:
    return InstanceLoad(id=name, speed=speed, pending=pending, arrivals_per_s=arrivals, extra=extra)


def model(
    name: str = "m",
    *instances: InstanceLoad,
    coming: int = 0,
    minimum: int = 1,
    maximum: int = 10,
    shortage: float = 0.0,
    forecast: float | None = None,
) -> ModelLoad:
    return ModelLoad(
        model=name,
        instances=instances,
        coming=coming,
        minimum=minimum,
        maximum=maximum,
        shortage=shortage,
        forecast=forecast,
    )


@dataclass
class Plant:
    """A model whose instances all serve at one speed; requests queue in front of all of them.

    Attributes:
        name: of the model.
        speed: items a second of an instance.
        minimum: fewest instances.
        maximum: most.
        delay_s: from asking for an instance until it serves.
        room: whether there is a place for one more.
        backlog: items that wait.
        serving: instances, and whether autoscaling added them.
        coming: times at which those asked for will serve.
    """

    name: str = "m"
    speed: float = 100.0
    minimum: int = 1
    maximum: int = 10
    delay_s: float = 3.0
    room: bool = True
    backlog: float = 0.0
    serving: dict[str, bool] = field(default_factory=dict)
    coming: list[float] = field(default_factory=list)
    made: int = 0

    def __post_init__(self) -> None:
        for _ in range(self.minimum):
            self._add(extra=False)

    def _add(self, *, extra: bool) -> None:
        self.made += 1
        self.serving[f"{self.name}-{self.made}"] = extra

    @property
    def count(self) -> int:
        return len(self.serving) + len(self.coming)

    def pass_time(self, now: float, seconds: float, rate: float) -> None:
        for _ in [due for due in self.coming if due <= now]:
            self._add(extra=True)
        self.coming = [due for due in self.coming if due > now]
        can = self.speed * len(self.serving) * seconds
        self.backlog = max(0.0, self.backlog + rate * seconds - can)

    def load(self, rate: float, *, shortage: float = 0.0) -> ModelLoad:
        share = 1 / len(self.serving)
        return model(
            self.name,
            *(
                instance(
                    name,
                    speed=self.speed,
                    pending=self.backlog * share,
                    arrivals=rate * share,
                    extra=extra,
                )
                for name, extra in sorted(self.serving.items())
            ),
            coming=len(self.coming),
            minimum=self.minimum,
            maximum=self.maximum,
            shortage=shortage,
        )

    def obey(self, scale: Scale, now: float) -> None:
        if scale.change > 0:
            if self.room:
                self.coming.append(now + self.delay_s)
        else:
            assert scale.instance is not None
            assert self.serving.pop(scale.instance), "only what autoscaling added may go"


def play(
    scaler: Autoscaler,
    plants: list[Plant],
    rates: list[list[float]],
    *,
    step_s: float = 1.0,
) -> list[tuple[float, Scale]]:
    """Run plants under an autoscaler.

    Args:
        scaler: decides.
        plants: models.
        rates: of each step, the items a second of each plant.
        step_s: seconds between decisions.

    Returns:
        What was decided, and when.
    """
    done: list[tuple[float, Scale]] = []
    by_name = {plant.name: plant for plant in plants}
    for step, now_rates in enumerate(rates):
        now = step * step_s
        for plant, rate in zip(plants, now_rates, strict=True):
            plant.pass_time(now, step_s, rate)
        loads = [plant.load(rate) for plant, rate in zip(plants, now_rates, strict=True)]
        for scale in scaler.decide(loads, now):
            by_name[scale.model].obey(scale, now)
            done.append((now, scale))
        for plant in plants:
            assert plant.minimum <= len(plant.serving)
            assert plant.count <= plant.maximum
    return done
