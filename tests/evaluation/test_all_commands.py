"""Every `python -m evaluation...`, as a researcher meets it first: its help, and its refusals."""

from __future__ import annotations

import json
import pkgutil
import re
import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import evaluation
from dataflow.errors import ConfigError, MissingDependencyError
from evaluation.benchmarks import (
    cohabitation,
    controller,
    finetuning,
    forecaster_folds,
    forecasting,
    interference_modes,
    motion_pipeline,
    placement,
    placement_speed,
    policy_cost,
    recovery,
    soak,
)
from evaluation.benchmarks.reference_pairs import reference_pairs
from evaluation.command import load
from evaluation.simulation.__main__ import main as simulation
from evaluation.training import train_plates
from evaluation.training.plate_settings import TrainSettings
from roomie.devices import load_devices
from roomie.profiles import ProfileStore, Variant
from tests.evaluation.commands import end_of
from tests.roomie.kit import A100, profile


def commands() -> list[str]:
    """Modules that are run by `python -m`: those with a ``__main__`` block."""
    found = []
    for module in pkgutil.walk_packages(evaluation.__path__, "evaluation."):
        file = Path(*evaluation.__path__, *module.name.split(".")[1:]).with_suffix(".py")
        if file.is_file() and '__name__ == "__main__"' in file.read_text(encoding="utf-8"):
            found.append(module.name.removesuffix(".__main__"))
    return found


def test_the_commands_are_found() -> None:
    assert {"evaluation.simulation", "evaluation.benchmarks.serving"} <= set(commands())
    assert len(commands()) > 20


def shown_by(
    name: str, *words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """What `python -m NAME WORDS --help` prints."""
    monkeypatch.setattr(sys, "argv", [name, *words, "--help"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
        with pytest.raises(SystemExit) as end:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
    shown = capsys.readouterr()
    assert (end.value.code, shown.err) == (0, "")
    return shown.out


@pytest.mark.parametrize("name", commands())
def test_help_has_an_example_and_needs_no_optional_package(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("torch", "matplotlib", "onnx"):
        monkeypatch.setitem(sys.modules, package, None)
    shown = shown_by(name, monkeypatch=monkeypatch, capsys=capsys)
    assert f"\n      python -m {name}" in shown, "end the module with evaluation.command.run"


def documented() -> set[tuple[str, str]]:
    """Commands of the evaluation that the documentation names, with what follows on the line."""
    root = Path(__file__).parents[2]
    return {
        (name, rest)
        for file in (root / "README.md", *(root / "docs").glob("*.md"))
        for name, rest in re.findall(
            r"python -m (evaluation(?:\.\w+)+)([^`\n]*)", file.read_text(encoding="utf-8")
        )
    }


@pytest.mark.parametrize(("name", "rest"), sorted(documented()))
def test_commands_of_the_documentation_have_the_options_that_it_gives_them(
    name: str, rest: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert name in commands()
    command = [word for word in rest.split()[:1] if word in {"compare", "exchange"}]
    shown = shown_by(name, *command, monkeypatch=monkeypatch, capsys=capsys)
    for option in re.findall(r"--[a-z-]+", rest):
        assert re.search(rf"(^|\W){option}\W", shown), option


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        (cohabitation.main, ["--device", "GTX"], "GTX"),
        (cohabitation.main, ["--batch", "3"], "batch sizes profiled for it"),
        (controller.main, ["--rounds", "0"], "--rounds"),
        (finetuning.main, ["--forecaster", "ewma"], "ewma is no network"),
        (finetuning.main, ["--forecaster", "nobody"], "installed: "),
        (finetuning.main, ["--seconds", "-5"], "--seconds"),
        (forecaster_folds.main, ["--trace", "nowhere.csv"], "nowhere.csv"),
        (forecasting.main, ["--replicas", "6,x"], "--replicas"),
        (forecasting.main, ["--forecasters", "nobody"], "'nobody' is none of"),
        (interference_modes.main, ["--policies", "nobody"], "'nobody' is none of"),
        (interference_modes.main, ["--device", "GTX"], "GTX"),
        (interference_modes.main, ["--batch", "3"], "batch size 3"),
        (motion_pipeline.main, ["nowhere.avi"], "nowhere.avi"),
        (motion_pipeline.main, [__file__], "no frames"),
        (placement.main, ["--trials", "-1"], "--trials"),
        (placement.main, ["--trials", "0"], "0 trials"),
        (placement.main, ["--batches", "0"], "--batches"),
        (placement.main, ["--batches", "3"], "--batches"),
        (placement.main, ["--device", "GTX"], "GTX"),
        (placement.main, ["--trials", "0", "--add", "nowhere.json"], "nowhere.json"),
        (placement_speed.main, ["--json", "/dev/null/out.json"], "cannot be made"),
        (policy_cost.main, ["--replicas", "1"], "--replicas"),
        (recovery.main, ["--balancers", ""], "'' is none of"),
        (simulation, ["--cameras", "0"], "--cameras"),
        (simulation, ["--seconds", "-1"], "--seconds"),
        (soak.main, ["--minutes", "0"], "--minutes"),
        (soak.main, ["--cameras", "0"], "--cameras"),
    ],
)
def test_what_is_wrong_is_named_before_any_work(
    command: Callable[..., Any], arguments: list[str], says: str
) -> None:
    ended = end_of(command, *arguments)
    # 1 where it is not an option alone that is wrong.
    failed = says in {"no frames", "batch sizes profiled for it"}
    assert (ended.code, ended.out) == (1 if failed else 2, "")
    assert says in ended.err.replace("\n", " ")


def test_what_needs_an_extra_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "evaluation.training.forecaster_folds", raising=False)
    with pytest.raises(MissingDependencyError, match=r"pip install 'videojam\[train\]'"):
        load("evaluation.training.forecaster_folds", extra="train")


@pytest.mark.parametrize(("task", "minutes", "batch"), [("finder", 40.0, 32), ("reader", 45.0, 64)])
def test_each_plate_network_has_its_own_trainer_and_defaults(
    task: str, minutes: float, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    trained: list[TrainSettings] = []

    def load_trainer(module: str, *, extra: str) -> SimpleNamespace:
        asked.extend((module, extra))
        return SimpleNamespace(train=trained.append)

    monkeypatch.setattr(train_plates, "load", load_trainer)
    options = ["--data", str(tmp_path), "--out", str(tmp_path / "out.onnx"), "--seed", "3"]
    ended = end_of(train_plates.main, task, *options)
    assert ended.code == 0, ended.err
    assert asked == [f"evaluation.training.plate_{task}_training", "train"]
    (settings,) = trained
    assert (settings.minutes, settings.batch, settings.seed) == (minutes, batch, 3)


def test_more_folds_than_sequences_are_refused(tmp_path: Path) -> None:
    trace = tmp_path / "loads.csv"
    trace.write_text("sequence,frame,vehicles\na,1,2\na,2,3\nb,1,2\nb,2,2\n")
    ended = end_of(forecaster_folds.main, "--trace", str(trace), "--folds", "3")
    assert ended.code == 2
    assert "has 2 sequence(s) only" in ended.err


# -- trials of the placement benchmark ----------------------------------------------------------

PLACERS = (
    "optimum", "roomie", "roomie, greedy only", "Algorithms 2 and 3 as printed", "usher", "infaas",
    "least-loaded", "random",
)  # fmt: skip
TRIALS: dict[str, Any] = {
    "settings": {
        "device": "A100-SXM4-40GB",
        "batches": "1,8",
        "truth": "proportional",
        "time-limit": "10",
        "gap": "0.001",
        "most-together": "4",
    },
    "seeds": [7, 8],
    "unproven": 1,
    "bounds": [0.1, float("nan")],
    "losses": {name: [0.1 * n + 0.2, 0.1 * n + 0.3] for n, name in enumerate(PLACERS)},
    "seconds": {name: [0.01, 0.02] for name in PLACERS},
}


def test_trials_of_other_runs_are_summed_up_without_working_anything_out(tmp_path: Path) -> None:
    files, out, plot = [tmp_path / "a", tmp_path / "b"], tmp_path / "out.json", tmp_path / "a.png"
    for file, seeds in zip(files, ([7, 8], [9, 10]), strict=True):
        file.write_text(json.dumps(TRIALS | {"seeds": seeds}))
    arguments = ["--trials", "0", *(word for file in files for word in ("--add", str(file)))]
    arguments += ["--cache", str(tmp_path / "cache"), "--json", str(out), "--plot", str(plot)]
    ended = end_of(placement.main, *arguments)
    assert ended.code == 0, ended.err
    assert "4 trials" in ended.out
    assert "all profiles are synthetic" in ended.err
    assert not (tmp_path / "cache").exists()
    assert plot.stat().st_size > 1000
    assert json.loads(out.read_text())["seeds"] == [7, 8, 9, 10]
    # What was written is read again.
    again = end_of(placement.main, "--trials", "0", "--add", str(out))
    assert "4 trials" in again.out, again.err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("{", "not the figures of trials"),
        ("[]", "not the figures of trials"),
        ({"losses": {"optimum": [1.0]}}, "not of the same trials"),
        ({"bounds": [0.1]}, "not of the same trials"),
        ({"seeds": [7]}, "not of the same trials"),
        ({"seeds": [7, 7]}, "a seed is there twice"),
        ({"unproven": "many"}, "unproven"),
        (
            {
                "losses": {name: [0.1, 0.2] for name in PLACERS[:-1]},
                "seconds": {name: [0.1, 0.2] for name in PLACERS[:-1]},
            },
            "no trials of random",
        ),
        ({"settings": {"device": "AGX-Xavier"}}, "remedy: --device AGX-Xavier"),
        ({"settings": TRIALS["settings"] | {"gap": "0.1"}}, "remedy: --gap 0.1"),
        ({"settings": TRIALS["settings"] | {"time-limit": "1"}}, "remedy: --time-limit 1"),
        ({"settings": TRIALS["settings"] | {"most-together": "2"}}, "remedy: --most-together 2"),
        ({"settings": {"device": "A100-SXM4-40GB"}}, "another --batches than 1,8"),
    ],
)
def test_files_that_cannot_be_added_are_named_with_the_remedy(
    change: str | dict[str, Any], says: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.json"
    file.write_text(change if isinstance(change, str) else json.dumps(TRIALS | change))
    ended = end_of(placement.main, "--trials", "0", "--add", str(file))
    assert (ended.code, ended.out) == (2, "")
    assert str(file) in ended.err
    assert says in ended.err
    assert "remedy: " in ended.err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--trials", "0", "--add", "b.json"], "2 of its trials are among those added before"),
        (["--trials", "150", "--seed", "0"], "the next that is not: 9"),
    ],
)
def test_no_trial_is_counted_twice(
    more: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.json", "b.json"):
        Path(name).write_text(json.dumps(TRIALS))
    ended = end_of(placement.main, "--add", "a.json", *more)
    assert (ended.code, ended.out) == (2, "")
    assert says in " ".join(ended.err.replace("│", " ").split())


def test_reference_pairs_are_kept_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = ProfileStore([profile("a"), profile("b")], load_devices())
    variants = (Variant("a", 1), Variant("b", 1))

    def pairs() -> object:
        return reference_pairs(store, A100, variants, policy="proportional", cache=tmp_path)

    found = pairs()
    (file,) = tmp_path.iterdir()
    kept = file.read_text()
    assert len(json.loads(kept)) == 3
    assert pairs() == found
    file.write_text('{"a@1 a@1": [0.5]}')
    with pytest.raises(ConfigError, match="remedy: delete the file"):
        pairs()
