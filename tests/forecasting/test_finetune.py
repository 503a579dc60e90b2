from __future__ import annotations

import numpy as np
import pytest

from forecasting import build_forecaster
from forecasting.errors import ForecasterSettingsError
from forecasting.finetune import Finetuned, FinetuneSettings
from tests.forecasting.loads import SMALL, busy


def tuned(**settings: float) -> Finetuned:
    return Finetuned(build_forecaster("ewma", SMALL), FinetuneSettings(**settings))


def error(finetuned: Finetuned, factor: float, name: str = "gate") -> float:
    """Relative error over streets whose load is always ``factor`` times what is forecast."""
    histories = busy(20, SMALL, seed=9)
    said = finetuned.forecast(histories, [name] * 20).sum(axis=1)
    came = finetuned.forecaster.forecast(histories).sum(axis=1) * factor
    return float(np.abs(said - came).sum() / came.sum())


def teach(finetuned: Finetuned, factor: float, windows: int = 60) -> None:
    for history in busy(windows, SMALL, seed=1):
        came = finetuned.forecaster.forecast(history[None])[0] * factor
        finetuned.observe("gate", history, came)


def test_nothing_changes_before_anything_was_observed() -> None:
    finetuned = tuned()
    histories = busy(4, SMALL)
    expected = finetuned.forecaster.forecast(histories)
    assert finetuned.forecast(histories, list("abcd")).tolist() == expected.tolist()


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_camera_with_a_law_of_its_own_is_learned(factor: float) -> None:
    finetuned = tuned()
    before = error(finetuned, factor)
    teach(finetuned, factor)
    assert error(finetuned, factor) < 0.3 * before
    assert error(finetuned, 1.0, name="other") == pytest.approx(0.0, abs=1e-6)


def test_a_forecaster_that_is_right_is_left_alone() -> None:
    finetuned = tuned()
    teach(finetuned, 1.0)
    assert error(finetuned, 1.0) < 0.01


def test_no_correction_goes_beyond_the_limit() -> None:
    finetuned = tuned(limit=1.5, prior=0.01)
    teach(finetuned, 50.0)
    histories = busy(3, SMALL)
    said = finetuned.forecast(histories, ["gate"] * 3)
    assert said == pytest.approx(1.5 * finetuned.forecaster.forecast(histories), rel=1e-4)


def test_what_is_no_number_teaches_nothing_that_is_none() -> None:
    finetuned = tuned()
    finetuned.observe("gate", np.full(6, np.nan, np.float32), np.zeros(3, np.float32))
    finetuned.observe("gate", np.zeros(6, np.float32), np.array([np.inf, 5, -1], np.float32))
    assert np.isfinite(finetuned.forecast(busy(1, SMALL), ["gate"])).all()


def test_who_has_left_is_forgotten() -> None:
    finetuned = tuned()
    teach(finetuned, 1.4)
    finetuned.forget("gate")
    finetuned.forget("nobody")
    assert error(finetuned, 1.0) == pytest.approx(0.0, abs=1e-6)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ForecasterSettingsError, match="as many names"):
        tuned().forecast(busy(2, SMALL), ["gate"])
    with pytest.raises(ForecasterSettingsError, match="memory"):
        FinetuneSettings(memory=0.0)
