from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from forecasting import Window, build_forecaster
from forecasting.errors import ForecasterModelError, MissingExtraError
from forecasting.linear import fit_ridge, read_coefficients, write_coefficients
from forecasting.tflite import Dense, Mixture, NetworkParams
from forecasting.traces import rolling_origin
from tests.forecasting.loads import WINDOW, busy

NETWORKS = ("dense", "mixture")


def copy_of(builtin: Path, tmp_path: Path, *, card: bool = False) -> Path:
    file = tmp_path / builtin.name
    shutil.copy(builtin, file)
    if card:
        shutil.copy(builtin.with_suffix(".json"), file.with_suffix(".json"))
    return file


@pytest.mark.parametrize("name", ["dense", "linear", "mixture"])
@pytest.mark.parametrize("count", [0, 1, 6, 1024, 1025, 3000])
def test_any_number_of_replicas_gets_what_each_gets_alone(name: str, count: int) -> None:
    forecaster = build_forecaster(name)
    histories = busy(count)
    together = forecaster.forecast(histories)
    assert together.shape == (count, 10)
    for row in {0, count // 2, count - 1} if count else ():
        alone = forecaster.forecast(histories[row : row + 1])[0]
        assert alone == pytest.approx(together[row], rel=1e-3, abs=1e-2)
    assert forecaster.faults == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_the_number_of_replicas_may_change_from_call_to_call(name: str) -> None:
    forecaster = build_forecaster(name)
    histories = busy(40)
    expected = forecaster.forecast(histories)
    for count in (3, 40, 1, 17, 3):
        np.testing.assert_allclose(
            forecaster.forecast(histories[:count]), expected[:count], rtol=1e-3, atol=1e-2
        )


@pytest.mark.parametrize("name", ["dense", "linear", "mixture"])
def test_a_steady_load_goes_on(name: str) -> None:
    forecaster = build_forecaster(name)
    for load in (20.0, 60.0, 200.0):
        total = forecaster.forecast(np.full((1, 50), load, np.float32)).sum()
        assert total == pytest.approx(10 * load, rel=0.2)


def test_no_load_stays_no_load_and_twice_the_load_is_twice_the_forecast() -> None:
    forecaster = build_forecaster("mixture")
    assert forecaster.forecast(np.zeros((1, 50), np.float32)).max() == 0
    histories = busy(20)
    once, thrice = forecaster.forecast(histories), forecaster.forecast(3 * histories)
    assert thrice == pytest.approx(3 * once, rel=1e-3)


@given(st.lists(st.floats(0, 1e5, width=32), min_size=50, max_size=50))
def test_the_mixture_never_runs_away(history: list[float]) -> None:
    forecaster = MIXTURE
    load = np.array([history], np.float32)
    forecast = forecaster.forecast(load)
    assert np.isfinite(forecast).all()
    assert forecast.max() <= 2.72 * max(load.max(), 1e-6)
    assert forecaster.faults == 0


MIXTURE = build_forecaster("mixture")


def test_quantiles_hold_the_forecast_between_them() -> None:
    assert MIXTURE.levels == (0.1, 0.5, 0.9)
    histories = busy(50)
    quantiles = MIXTURE.window_quantiles(histories)
    sums = MIXTURE.forecast(histories).sum(axis=1)
    assert quantiles.shape == (50, 3)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert ((quantiles[:, 0] < sums) & (sums < quantiles[:, 2])).mean() > 0.9
    assert build_forecaster("dense").levels == ()


def test_a_missing_network_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ForecasterModelError, match="cannot be read") as caught:
        build_forecaster("dense", WINDOW, {"model": str(tmp_path / "none.tflite")})
    assert caught.value.file == tmp_path / "none.tflite"


@pytest.mark.parametrize("content", [b"", b"TFL", b"\x89PNG\r\n\x1a\n" * 9, b"\x1c\0\0\0TFL3" * 9])
def test_what_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "odd.tflite"
    file.write_bytes(content)
    with pytest.raises(ForecasterModelError):
        build_forecaster("dense", WINDOW, {"model": str(file)})


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_network_that_is_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    file = copy_of(Mixture.builtin, tmp_path)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ForecasterModelError):
        build_forecaster("mixture", WINDOW, {"model": str(file)})


def test_a_flipped_bit_in_a_weight_is_found_by_the_card(tmp_path: Path) -> None:
    file = copy_of(Dense.builtin, tmp_path, card=True)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)
    with pytest.raises(ForecasterModelError, match="damaged"):
        build_forecaster("dense", WINDOW, {"model": str(file)})
    file.with_suffix(".json").unlink()
    build_forecaster("dense", WINDOW, {"model": str(file)})


@pytest.mark.parametrize("text", ["{", "\0"])
def test_a_broken_card_is_refused(tmp_path: Path, text: str) -> None:
    file = copy_of(Mixture.builtin, tmp_path)
    file.with_suffix(".json").write_text(text)
    with pytest.raises(ForecasterModelError, match="card cannot be read"):
        build_forecaster("mixture", WINDOW, {"model": str(file)})


@pytest.mark.parametrize("levels", [[0.5], [0.1, 0.5, 1.5], "half", [1, 2, 3]])
def test_a_card_with_other_quantiles_is_refused(tmp_path: Path, levels: object) -> None:
    file = copy_of(Mixture.builtin, tmp_path)
    file.with_suffix(".json").write_text(json.dumps({"levels": levels}))
    with pytest.raises(ForecasterModelError, match="levels"):
        build_forecaster("mixture", WINDOW, {"model": str(file)})


@pytest.mark.parametrize("window", [Window(history=40), Window(slots=5), Window(history=100)])
@pytest.mark.parametrize("name", ["dense", "linear", "mixture"])
def test_a_model_for_another_window_is_refused(name: str, window: Window) -> None:
    with pytest.raises(ForecasterModelError):
        build_forecaster(name, window)


def test_a_network_that_answers_no_numbers_is_refused_at_the_start(tmp_path: Path) -> None:
    file = copy_of(Dense.builtin, tmp_path)

    interpreter = Interpreter(model_content=file.read_bytes())
    interpreter.allocate_tensors()
    bias = next(
        interpreter.get_tensor(entry["index"])
        for entry in interpreter.get_tensor_details()
        if tuple(entry["shape"]) == (512,) and entry["name"] != ""
    ).astype(np.float32)
    content = file.read_bytes()
    assert content.count(bias.tobytes()) == 1
    file.write_bytes(content.replace(bias.tobytes(), np.full(512, np.nan, np.float32).tobytes()))
    with pytest.raises(ForecasterModelError, match="no number"):
        build_forecaster("dense", WINDOW, {"model": str(file)})


def test_a_broken_network_gives_way_to_the_last_window_if_configured(tmp_path: Path) -> None:
    file = tmp_path / "odd.tflite"
    file.write_bytes(b"nonsense")
    forecaster = build_forecaster(
        "mixture", WINDOW, {"model": str(file)}, when_broken="last-window"
    )
    assert forecaster.stands_in_for == "mixture"
    assert forecaster.forecast(busy(3)) == pytest.approx(busy(3)[:, -10:])


def test_a_missing_runtime_is_said_so_or_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingExtraError, match="pip install ai-edge-litert"):
        build_forecaster("mixture")
    forecaster = build_forecaster("mixture", when_broken="last-window")
    assert forecaster.name == "last-window"


@pytest.mark.parametrize("builtin", [Dense.builtin, Mixture.builtin])
def test_what_ships_has_a_card_that_names_data_split_and_licence(builtin: Path) -> None:
    card = json.loads(builtin.with_suffix(".json").read_text())
    assert "CC BY-NC-SA" in card["data"]["origin"]
    assert not set(card["data"]["trained_on"]) & set(card["data"]["tested_on"])
    assert card["differs_from_torch"] < 1e-3
    assert builtin.stat().st_size < 200_000
    name = builtin.stem
    for scores in card["test"].values():
        assert scores[name]["all"]["sum_error"] < scores["ewma"]["all"]["sum_error"]
        assert scores[name]["all"]["sum_error"] < scores["last-window"]["all"]["sum_error"]


def test_a_network_can_be_named_by_its_path(tmp_path: Path) -> None:
    file = copy_of(Mixture.builtin, tmp_path)
    forecaster = Mixture(WINDOW, NetworkParams(model=str(file)))
    assert forecaster.levels == (0.1, 0.5, 0.9)
    assert forecaster.forecast(busy(4)) == pytest.approx(MIXTURE.forecast(busy(4)))


def test_ridge_finds_the_law_of_a_load_that_has_one(tmp_path: Path) -> None:
    window = Window(slots=2, history=4)
    time = np.arange(400)
    load = (50 + 20 * np.sin(time / 5)).astype(np.float32)
    coefficients = fit_ridge(rolling_origin(load, window, least_known=4), penalty=1e-7)
    windows = rolling_origin(load, window, least_known=4)
    errors = windows.histories @ coefficients - windows.targets
    naive = windows.histories[:, -2:] - windows.targets
    assert np.abs(errors).mean() < 0.05 * np.abs(naive).mean()
    file = tmp_path / "mine.npz"
    write_coefficients(file, coefficients)
    assert read_coefficients(file, window) == pytest.approx(coefficients)
    forecaster = build_forecaster("linear", window, {"model": str(file)})
    assert forecaster.forecast(windows.histories[:5]) == pytest.approx(
        windows.histories[:5] @ coefficients
    )


def test_coefficients_that_are_missing_or_broken_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.npz"
    with pytest.raises(ForecasterModelError, match="cannot be read"):
        read_coefficients(file, WINDOW)
    file.write_bytes(b"nonsense")
    with pytest.raises(ForecasterModelError, match="no file of coefficients"):
        read_coefficients(file, WINDOW)
    write_coefficients(file, np.full((50, 10), np.nan, np.float32))
    with pytest.raises(ForecasterModelError, match="no numbers"):
        read_coefficients(file, WINDOW)


def test_forecasting_imports_neither_torch_nor_a_runtime_until_it_needs_one() -> None:
    code = (
        "import sys, forecasting\n"
        "forecasting.build_forecaster('last-window')\n"
        "heavy = {'torch', 'tensorflow', 'ai_edge_litert', 'cv2', 'matplotlib', 'litert_torch'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "forecasting.build_forecaster('mixture')\n"
        "assert not (heavy - {'ai_edge_litert'}) & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
