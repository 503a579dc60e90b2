"""What can be seen of a declared balancer and forecaster without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.assembly import build_engine
from agents.check import check_balancing
from dataflow.config import Config
from dataflow.errors import ConfigError
from dataflow.transport.memory import MemoryTransport
from forecasting.linear import write_coefficients


def declare(**balancing: Any) -> Config:
    return Config.model_validate(
        {
            "version": 1,
            "functions": {"find": {"plugin": "emulated", "balancing": balancing}},
            "pipelines": {"p": {"cameras": ["any"], "steps": [{"function": "find"}]}},
        }
    )


@pytest.mark.parametrize(
    "balancing",
    [
        {},
        {"rhythm": "thesis"},
        {"forecaster_finetune": True},
        {"forecaster": "linear"},
        {"policy": "wrr", "parameters": {"keep_dead": True}},
        {"policy": "wrr", "forecaster": "not-asked-for"},
    ],
    ids=str,
)
def test_what_can_be_made_is_no_fault(balancing: dict[str, Any]) -> None:
    check_balancing(declare(**balancing), "find")


@pytest.mark.parametrize(
    ("balancing", "key", "said"),
    [
        ({"parameters": {"patience": 3}}, "parameters.patience", "unknown parameter"),
        (
            {"policy": "wrr", "parameters": {"keep_daed": True}},
            "parameters.keep_daed",
            "did you mean 'keep_dead'",
        ),
        (
            {"policy": "wrr", "parameters": {"keep_dead": "yes"}},
            "parameters.keep_dead",
            "valid boolean",
        ),
        ({"forecaster": "mixtur"}, "forecaster", "did you mean 'mixture'"),
        (
            {"forecaster": "ewma", "forecaster_parameters": {"alpha": 2}},
            "forecaster_parameters.alpha",
            "less than",
        ),
        (
            {"forecaster": "linear", "forecaster_finetune": True},
            "forecaster_finetune",
            "no last layer",
        ),
    ],
)
def test_a_fault_has_its_key(balancing: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        check_balancing(declare(**balancing), "find")
    assert caught.value.key == f"functions.find.balancing.{key}"


@pytest.mark.parametrize("broken", ["error", "last-window"])
@pytest.mark.parametrize("shape", [None, (50, 7), (20, 10)])
def test_a_model_must_be_there_and_fit_the_windows(
    tmp_path: Path, shape: tuple[int, int] | None, broken: str
) -> None:
    model = tmp_path / "model.npz"
    if shape is not None:
        write_coefficients(model, np.ones(shape, np.float32))
    config = declare(
        forecaster="linear",
        forecaster_parameters={"model": str(model)},
        forecaster_broken=broken,
    )
    if broken == "last-window":  # as declared, replicas do without
        check_balancing(config, "find")
        return
    with pytest.raises(ConfigError, match=str(model)) as caught:
        check_balancing(config, "find")
    assert caught.value.key == "functions.find.balancing.forecaster_parameters.model"
    assert caught.value.remedy
    if shape is not None:
        assert str(shape) in caught.value.message


def test_a_replica_that_starts_anyway_names_the_same_key() -> None:
    with pytest.raises(ConfigError) as caught:
        build_engine(
            config=declare(parameters={"patience": 3}),
            name="find",
            function=None,  # type: ignore[arg-type] # it does not come so far
            transport=MemoryTransport(),
            replica="r",
        )
    assert caught.value.key == "functions.find.balancing.parameters.patience"
