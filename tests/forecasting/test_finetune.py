from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forecasting import FinetuneSettings, Loads, Window, build_forecaster, padded_history
from forecasting.errors import ForecasterModelError, ForecasterSettingsError
from forecasting.finetune import Lessons, learn
from forecasting.last_layer import Activations, activations, answer, find_last_layer
from forecasting.tflite import MODELS, Dense, NetworkParams, TfliteForecaster
from forecasting.tuned import TunedNetwork
from tests.forecasting.loads import WINDOW, busy

SETTINGS = FinetuneSettings(windows=120, least=20)
NETWORKS = ("dense", "mixture")


def network(name: str) -> TfliteForecaster:
    built = build_forecaster(name, WINDOW).forecaster
    assert isinstance(built, TfliteForecaster)
    return built


def teach(tuned: TunedNetwork, factor: float, windows: int = 100, seed: int = 1) -> None:
    """A street whose load is always ``factor`` times what the network says."""
    histories = busy(windows, seed=seed)
    said = np.maximum(tuned.network.forecast(histories), 0.0).sum(axis=1)
    for history, items in zip(histories, said, strict=True):
        tuned.note(history, float(items) * factor)


def tune(tuned: TunedNetwork) -> None:
    lessons = tuned.prepare()
    assert lessons is not None
    tuned.adopt(tuned.learn_from(lessons))


def error(tuned: TunedNetwork, factor: float) -> float:
    """Relative error over histories that it has not seen."""
    wrong = total = 0.0
    for history in busy(20, seed=9):
        came = float(np.maximum(tuned.network.forecast(history[None]), 0.0).sum()) * factor
        wrong += abs(float(tuned.forecast(history[None]).sum()) - came)
        total += came
    return wrong / total


@pytest.mark.parametrize("name", NETWORKS)
def test_the_trained_layer_computed_apart_says_what_the_network_says(name: str) -> None:
    tuned = TunedNetwork(network(name), SETTINGS)
    trained = tuned.network.last_layer()
    lessons = [tuned._given(h[None], tuned.network.forecast(h[None])) for h in busy(5)]
    for history, given in zip(busy(5), lessons, strict=True):
        alone = answer(trained.tail, trained.weights, given)
        assert alone == pytest.approx(tuned.network.forecast(history[None]), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_changes_before_anything_was_learned(name: str) -> None:
    tuned = TunedNetwork(network(name), SETTINGS)
    teach(tuned, 1.5, windows=10)
    assert tuned.prepare() is None
    assert not tuned.tuned
    histories = busy(4)
    assert tuned.forecast(histories).tolist() == tuned.network.forecast(histories).tolist()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_camera_with_a_law_of_its_own_is_learned(name: str, factor: float) -> None:
    tuned = TunedNetwork(network(name), SETTINGS)
    before = error(tuned, factor)
    teach(tuned, factor)
    tune(tuned)
    assert tuned.tuned
    assert error(tuned, factor) < 0.35 * before


@pytest.mark.parametrize("name", NETWORKS)
def test_only_the_replicas_own_row_is_tuned(name: str) -> None:
    tuned = TunedNetwork(network(name), SETTINGS)
    teach(tuned, 1.4)
    tune(tuned)
    histories = busy(3)
    said, usual = tuned.forecast(histories), tuned.network.forecast(histories)
    assert said[0].sum() > 1.2 * usual[0].sum()
    assert said[1:].tolist() == usual[1:].tolist()
    assert tuned.forecast(histories[:0]).shape == (0, WINDOW.slots)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_was_right_stays_as_it_was_trained(name: str) -> None:
    tuned = TunedNetwork(network(name), SETTINGS)
    teach(tuned, 1.0)
    tune(tuned)
    assert not tuned.tuned


@pytest.mark.parametrize("name", NETWORKS)
def test_chance_is_not_learned(name: str) -> None:
    tuned = TunedNetwork(network(name), SETTINGS)
    rng = np.random.default_rng(3)
    for history in busy(100):
        usual = max(float(tuned.network.forecast(history[None]).sum()), 1.0)
        tuned.note(history, usual * float(rng.uniform(0.5, 1.5)))
    tune(tuned)
    assert error(tuned, 1.0) < 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_a_correction_is_limited(name: str) -> None:
    tuned = TunedNetwork(network(name), FinetuneSettings(least=20, prior=0.01, limit=1.3))
    teach(tuned, 3.0)
    tune(tuned)
    histories = busy(1, seed=4)
    usual = tuned.network.forecast(histories).sum()
    assert tuned.forecast(histories).sum() == pytest.approx(1.3 * usual, rel=1e-3)


def test_a_camera_that_no_longer_follows_its_law_gets_the_trained_layer_back() -> None:
    tuned = TunedNetwork(network("dense"), SETTINGS)
    teach(tuned, 1.5)
    tune(tuned)
    assert tuned.tuned
    teach(tuned, 1.0, windows=120, seed=2)
    tune(tuned)
    assert not tuned.tuned


def test_broken_measurements_are_passed_over() -> None:
    tuned = TunedNetwork(network("dense"), SETTINGS)
    history = busy(1)[0]
    tuned.note(np.full(WINDOW.history, np.nan, np.float32), 10.0)
    for came in (np.nan, np.inf, -5.0):
        tuned.note(history, came)
    teach(tuned, 1.4)
    tune(tuned)
    assert np.isfinite(tuned.forecast(busy(3))).all()


def test_a_camera_that_never_shows_anything_teaches_nothing() -> None:
    tuned = TunedNetwork(network("mixture"), SETTINGS)
    for _ in range(50):
        tuned.note(padded_history([], WINDOW), 0.0)
    tune(tuned)
    assert not tuned.tuned


def test_lessons_without_a_solution_are_no_reason_to_change() -> None:
    layer = network("dense").last_layer()
    given = Activations(features=np.full((30, 513), np.inf), base=np.ones((30, 10)))
    with np.errstate(invalid="ignore"):
        assert learn(layer, Lessons(given=given, came=np.ones(30)), SETTINGS) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"least": 1},
        {"least": 500},
        {"prior": 0.0},
        {"judged": 1.0},
        {"better": 0.0},
        {"limit": 0.5},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ForecasterSettingsError) as caught:
        FinetuneSettings(**settings)  # type: ignore[arg-type]
    assert caught.value.key == "finetune"


def test_what_is_no_network_cannot_be_tuned() -> None:
    with pytest.raises(ForecasterSettingsError, match="no network") as caught:
        build_forecaster("ewma", finetune=FinetuneSettings())
    assert caught.value.key == "forecaster_finetune"
    assert "mixture" in (caught.value.remedy or "")


def test_a_network_that_ends_in_something_else_cannot_be_tuned() -> None:
    content = (MODELS / "mixture.tflite").read_bytes()
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - the runtime under test

    interpreter = Interpreter(model_content=content)
    quantiles = next(
        detail["index"] for detail in interpreter.get_output_details() if detail["shape"][-1] == 3
    )

    class Unfit(Dense):
        builtin = MODELS / "mixture.tflite"

        def __init__(self) -> None:
            super().__init__(Window(), NetworkParams())
            self._output = quantiles

    with pytest.raises(ForecasterModelError, match="fine-tuned") as caught:
        TunedNetwork(Unfit(), SETTINGS)
    assert caught.value.file is not None


def test_the_graph_that_shows_its_last_layer_forecasts_as_before(tmp_path: Path) -> None:
    layer = network("dense").last_layer()
    file = tmp_path / "shown.tflite"
    file.write_bytes(layer.content)
    shown = find_last_layer(layer.content, 6)
    assert shown.weights.tolist() == layer.weights.tolist()
    features: Loads = np.ones((2, 512), np.float32)
    given = activations(layer, features, np.ones((2, 10), np.float32))
    assert given.features.shape == (2, 513)
    assert given.base.tolist() == np.ones((2, 10)).tolist()
