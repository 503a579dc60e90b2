"""Training and conversion; skipped where the extra ``train`` is not installed."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forecasting import Window, build_forecaster
from forecasting.errors import (
    ForecasterModelError,
    ForecasterSettingsError,
    MissingExtraError,
    TraceError,
)
from forecasting.generators import GENERATORS
from forecasting.traces import Trace, Windows
from tests.forecasting.loads import busy, steady

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")
litert_torch = pytest.importorskip(
    "litert_torch", reason="litert-torch comes with the extra `train`", exc_type=ImportError
)

from forecasting.training import convert as convert_module  # noqa: E402 - after importorskip
from forecasting.training.convert import compare_with_torch, convert, quantise  # noqa: E402 - after the skip
from forecasting.training.data import Recipe, make_loads, make_windows  # noqa: E402 - after the skip
from forecasting.training.fit import FitSettings, fit, predict, sum_error  # noqa: E402 - after the skip
from forecasting.training.networks import (  # noqa: E402 - after the skip
    DenseNetwork,
    MixtureNetwork,
    count_parameters,
)
from forecasting.training.run import TrainSettings, split, train  # noqa: E402 - after the skip

WINDOW = Window()
FEW = Recipe(recorded=12, generated=8, seconds=(30.0, 60.0))
QUICK = FitSettings(epochs=2, steps=5, batch=32)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def traces(count: int = 6) -> list[Trace]:
    rng = np.random.default_rng(5)
    made = [GENERATORS["drive"](40.0, rng) for _ in range(count)]
    return [
        Trace(name=str(number), vehicles=trace.vehicles, fps=trace.fps)
        for number, trace in enumerate(made)
    ]


def test_the_dense_network_is_the_thesis_one() -> None:
    network = DenseNetwork(WINDOW)
    assert count_parameters(network) == 31_242
    forecasts, quantiles = predict(network, busy(4))
    assert forecasts.shape == (4, 10)
    assert quantiles is None


def test_the_mixture_scales_with_the_load_before_it_learned_anything() -> None:
    torch.manual_seed(0)
    network = MixtureNetwork(WINDOW)
    once, spread = predict(network, busy(5))
    assert spread is not None
    twice, wider = predict(network, 2 * busy(5))
    assert twice == pytest.approx(2 * once, rel=1e-3)
    assert wider == pytest.approx(2 * spread, rel=1e-3)


def test_training_finds_a_law_that_the_last_window_misses() -> None:
    rng = np.random.default_rng(0)
    level = rng.uniform(20, 80, (600, 1))
    time = np.arange(60)
    loads = level * (
        1 + 0.8 * np.sign(np.sin(2 * np.pi * (time + rng.integers(0, 20, (600, 1))) / 20))
    )
    from_history = loads[:, :50].astype(np.float32), loads[:, 50:].astype(np.float32)
    windows = Windows(histories=from_history[0], targets=from_history[1], known=np.full(600, 50))
    torch.manual_seed(0)
    network = MixtureNetwork(WINDOW)
    fit(network, windows, FitSettings(epochs=8, steps=40, batch=64))
    last = windows.histories[:, -10:].sum(axis=1) - windows.targets.sum(axis=1)
    assert sum_error(network, windows) < 0.5 * np.abs(last).sum() / windows.targets.sum()


def test_training_stops_when_validation_gets_no_better() -> None:
    rng = np.random.default_rng(1)
    windows = make_windows(traces(), WINDOW, FEW, rng)
    noise = make_windows([], WINDOW, Recipe(recorded=0, generated=2), rng)
    seen: list[int] = []
    settings = FitSettings(epochs=30, steps=1, batch=8, learning_rate=1e-9, patience=3)
    network = MixtureNetwork(WINDOW)
    epoch = fit(
        network, windows, settings, validation=noise, progress=lambda done, *_: seen.append(done)
    )
    assert len(seen) <= epoch + 3 < 30


def test_the_same_seed_makes_the_same_load_and_the_same_network() -> None:
    answers = []
    for _ in range(2):
        windows = make_windows(traces(), WINDOW, FEW, np.random.default_rng(3))
        torch.manual_seed(3)
        network = MixtureNetwork(WINDOW)
        fit(network, windows, QUICK)
        answers.append(predict(network, busy(3))[0])
    assert answers[0].tolist() == answers[1].tolist()


def test_recorded_load_is_mixed_but_never_invented() -> None:
    loads = make_loads(
        [steady("a", 60, vehicles=2)],
        WINDOW,
        Recipe(fps=(20.0,), recorded=60, generated=0),
        np.random.default_rng(0),
    )
    cameras = {int(value) for load in loads for value in load / 40}
    assert {1, 2, 3, 4} <= cameras <= {0, 1, 2, 3, 4}


def test_nothing_to_learn_from_is_said_so() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(TraceError, match="nothing to learn"):
        make_windows([], WINDOW, Recipe(generated=0), rng)
    with pytest.raises(TraceError, match="no window to learn from"):
        make_windows([steady("a", 5)], WINDOW, Recipe(recorded=1, generated=0), rng)
    with pytest.raises(TraceError, match="no window to learn from"):
        make_windows([steady("a", 60, vehicles=0)], WINDOW, Recipe(recorded=2, generated=0), rng)


def test_a_sequence_is_never_split_between_training_and_test() -> None:
    parts = [steady(name, 30) for name in ("a#0", "a#1", "b")]
    learn, test = split(parts, ("a",))
    assert [trace.name for trace in learn] == ["b"]
    assert [trace.name for trace in test] == ["a#0", "a#1"]
    with pytest.raises(ForecasterSettingsError, match="called c"):
        split(parts, ("c",))


@pytest.mark.parametrize("kind", ["mixture", "dense"])
def test_training_writes_a_network_its_int8_variant_and_a_card(tmp_path: Path, kind: Any) -> None:
    out = tmp_path / "mine.tflite"
    settings = TrainSettings(
        kind=kind, recipe=FEW, fit=QUICK, int8=True, test=("1",), origin="made up"
    )
    said: list[str] = []
    trained = train(traces(), out, settings, say=said.append)
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["data"]["tested_on"] == ["1"]
    assert card["data"]["trained_on"] == ["0", "2", "3", "4", "5"]
    assert card["data"]["origin"] == "made up"
    assert card["differs_from_torch"] < 1e-3
    assert card["int8_differs_from_torch"] < 0.1
    assert set(card["test"]["20"]) == {kind, f"{kind} int8", "last-window", "ewma"}
    assert any("when to stop" in text for text in said)
    assert trained.int8_file is not None
    assert trained.int8_file.stat().st_size < out.stat().st_size
    for file in (out, trained.int8_file):
        forecaster = build_forecaster(kind, WINDOW, {"model": str(file)})
        assert forecaster.forecast(busy(7)).shape == (7, 10)


def test_another_window_can_be_trained_for(tmp_path: Path) -> None:
    window = Window(slots=5, history=20, slot_seconds=2.0)
    out = tmp_path / "short.tflite"
    train([], out, TrainSettings(window=window, recipe=FEW, fit=QUICK))
    assert build_forecaster("mixture", window, {"model": str(out)}).forecast(
        busy(2, window)
    ).shape == (2, 5)


def test_linear_is_trained_without_a_network(tmp_path: Path) -> None:
    out = tmp_path / "mine.npz"
    train(traces(), out, TrainSettings(kind="linear", recipe=FEW))
    forecaster = build_forecaster("linear", WINDOW, {"model": str(out)})
    assert forecaster.forecast(np.full((1, 50), 40, np.float32)).sum() == pytest.approx(
        400, rel=0.3
    )


def test_a_wrong_ending_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ForecasterSettingsError, match=r"\.npz file"):
        train([], tmp_path / "m.tflite", TrainSettings(kind="linear"))


def module(forward: Callable[[Any, Any], Any]) -> Any:
    """A network of one function, `forward(self, histories)`."""
    return type("Made", (torch.nn.Module,), {"forward": forward})()


def fixed_batch(_: Any, histories: Any) -> Any:
    """A graph that holds the number of replicas that it was converted with."""
    return histories[:1, -10:].expand(histories.shape[0], 10) + 0 * histories[:, -10:]


def test_a_network_that_gives_the_first_answer_to_all_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fixed.tflite"
    convert(module(fixed_batch), WINDOW, file)
    with pytest.raises(ForecasterModelError):
        build_forecaster("dense", WINDOW, {"model": str(file)})


def test_a_conversion_that_changes_the_answers_is_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "m.tflite"
    network = DenseNetwork(WINDOW)
    convert(network, WINDOW, file)
    assert compare_with_torch(network, file, WINDOW, busy(9), tolerance=1e-3) < 1e-3
    with torch.no_grad():
        network.output.bias += 50
    with pytest.raises(ForecasterModelError, match="differs from the one in torch"):
        compare_with_torch(network, file, WINDOW, busy(9), tolerance=1e-3)


def unconvertible(_: Any, histories: Any) -> Any:
    if float(histories.sum()) > 0:  # no graph can hold this
        return histories[:, -10:]
    return histories[:, :10]


def test_a_network_that_cannot_be_converted_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ForecasterModelError, match="cannot be converted"):
        convert(module(unconvertible), WINDOW, tmp_path / "m.tflite")


def test_a_missing_converter_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith(("litert_torch", "ai_edge_quantizer")):
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for action in (
        lambda: convert(DenseNetwork(WINDOW), WINDOW, tmp_path / "m.tflite"),
        lambda: quantise(tmp_path / "m.tflite"),
    ):
        with pytest.raises(MissingExtraError, match=r"videojam\[train\]"):
            action()


def test_what_cannot_be_quantised_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "m.tflite"
    file.write_bytes(b"nonsense")
    with pytest.raises(ForecasterModelError, match="cannot be quantised"):
        quantise(file)
    assert convert_module.int8_file(file).name == "m.int8.tflite"
