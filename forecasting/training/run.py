"""The whole of training: split, learn, convert, compare, score, write the model and its card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from forecasting.errors import ForecasterSettingsError, TraceError
from forecasting.linear import fit_ridge, write_coefficients
from forecasting.registry import build_forecaster
from forecasting.scoring import Score, compare
from forecasting.traces import Trace, Windows, sequence_of
from forecasting.training.convert import (
    FLOAT_TOLERANCE,
    INT8_TOLERANCE,
    compare_with_torch,
    convert,
    quantise,
)
from forecasting.training.data import Recipe, make_windows
from forecasting.training.fit import FitSettings, Progress, fit
from forecasting.training.networks import (
    LEVELS,
    DenseNetwork,
    MixtureNetwork,
    count_parameters,
)
from forecasting.windows import Window

Kind = Literal["mixture", "dense", "linear"]

_VALIDATION_EVERY = 4
_LEAST_EPOCHS = 10  # fewer do not let the learning rate rise and fall
_COMPARED_ROWS = 512
_OF_GROUPS = ("windows", "sum_error")  # what a card says of a regime


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """What to train, on what.

    Attributes:
        kind: which forecaster.
        window: how time is cut.
        recipe: of the training load.
        fit: of the training loop.
        int8: whether to write the int8 variant too.
        origin: where the traces come from and what their licence asks; goes into the card.
        test: names of the sequences that are kept for the test.
    """

    kind: Kind = "mixture"
    window: Window = field(default_factory=Window)
    recipe: Recipe = field(default_factory=Recipe)
    fit: FitSettings = field(default_factory=FitSettings)
    int8: bool = False
    origin: str = ""
    test: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What training made.

    Attributes:
        file: the model.
        card: its card, as JSON: data, split, settings, errors.
        card_file: where it is.
        int8_file: the int8 variant, or None.
    """

    file: Path
    card: dict[str, Any]
    card_file: Path
    int8_file: Path | None


def split(traces: Sequence[Trace], test: Sequence[str]) -> tuple[list[Trace], list[Trace]]:
    """Training and test traces, by name: never parts of one sequence in both.

    A sequence that was cut at gaps (``name#0``, ``name#1``) goes as one.

    Raises:
        ForecasterSettingsError: a name is unknown.
    """
    known = {sequence_of(trace) for trace in traces}
    unknown = sorted(set(test) - known)
    if unknown:
        raise ForecasterSettingsError(
            f"no sequence is called {', '.join(unknown)}",
            key="test",
            remedy=f"sequences: {', '.join(sorted(known))}",
        )
    kept = [trace for trace in traces if sequence_of(trace) in test]
    return [trace for trace in traces if sequence_of(trace) not in test], kept


def train(
    traces: Sequence[Trace],
    out: Path,
    settings: TrainSettings,
    *,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Train a forecaster and write it with its card.

    A quarter of the sequences for training, mixed as for training and with generated load beside
    them, first decides after how many epochs the error is least; then the network learns from all
    of them for as many. The test sequences are looked at once, at the end.

    Args:
        traces: recorded load; may be empty if load is generated.
        out: the file to write: ``.tflite``, or ``.npz`` for ``linear``.
        settings: what to train, on what.
        progress: told after each epoch.
        say: told what happens.

    Raises:
        ForecasterSettingsError: a test sequence is unknown, or the file has a wrong ending.
        TraceError: there is nothing to learn from.
        ForecasterModelError: the network cannot be converted, or says something else afterwards.
        MissingExtraError: the converter is not installed.
    """
    ending = ".npz" if settings.kind == "linear" else ".tflite"
    if out.suffix != ending:
        raise ForecasterSettingsError(
            f"a {settings.kind} model is written to a {ending} file",
            key="out",
            value=str(out),
            remedy=f"--out {out.with_suffix(ending).name}",
        )
    learn, test = split(traces, settings.test)
    window = settings.window
    rng = np.random.default_rng(settings.fit.seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    if settings.kind == "linear":
        windows = make_windows(learn, window, settings.recipe, rng)
        write_coefficients(out, fit_ridge(windows))
        facts: dict[str, Any] = {"parameters": window.history * window.slots}
        quantised = None
    else:
        windows, network, facts = _train_network(learn, settings, rng, progress, say)
        say("converting")
        convert(network, window, out)
        check = windows.histories[rng.permutation(len(windows))[:_COMPARED_ROWS]]
        facts["differs_from_torch"] = compare_with_torch(
            network, out, window, check, tolerance=FLOAT_TOLERANCE
        )
        quantised = quantise(out) if settings.int8 else None
        if quantised is not None:
            facts["int8_differs_from_torch"] = compare_with_torch(
                network, quantised, window, check, tolerance=INT8_TOLERANCE
            )
    say("scoring")
    names: dict[str, Path] = {settings.kind: out}
    if quantised is not None:
        names[f"{settings.kind} int8"] = quantised
    facts["windows"] = len(windows)
    facts["test"] = _as_json(_test_scores(names, test, settings))
    card = _card(settings, learn, test, facts)
    card_file = _write_card(out, card)
    if quantised is not None:
        _write_card(quantised, card)
    return Trained(file=out, card=card, card_file=card_file, int8_file=quantised)


def _train_network(
    learn: Sequence[Trace],
    settings: TrainSettings,
    rng: np.random.Generator,
    progress: Progress | None,
    say: Callable[[str], None],
) -> tuple[Windows, Any, dict[str, Any]]:
    epochs = settings.fit.epochs
    facts: dict[str, Any] = {}
    held = list(learn[_VALIDATION_EVERY - 1 :: _VALIDATION_EVERY])
    rest = [trace for trace in learn if trace not in held]
    # a few sequences alone would let chance decide: they are mixed as those for training are
    recipe = settings.recipe
    fewer = replace(
        recipe,
        recorded=max(1, recipe.recorded // _VALIDATION_EVERY),
        generated=recipe.generated // _VALIDATION_EVERY,
    )
    try:
        validation = make_windows(held, settings.window, fewer, rng)
        part = make_windows(rest, settings.window, recipe, rng)
    except TraceError:
        say("too little load to learn when to stop")
    else:
        say(f"learning when to stop, from {len(held)} sequences held back")
        errors: list[float] = []

        def note(done: int, most: int, error: float) -> None:
            errors.append(error)
            if progress is not None:
                progress(done, most, error)

        best = fit(_network(settings), part, settings.fit, validation=validation, progress=note)
        epochs = min(max(best, _LEAST_EPOCHS), settings.fit.epochs)
        facts["validation"] = {
            "sequences": [trace.name for trace in held],
            "sum_error": round(min(errors), 4),
            "epoch": best,
        }
    windows = make_windows(learn, settings.window, settings.recipe, rng)
    say(f"learning from {len(windows)} windows for {epochs} epochs")
    network = _network(settings)
    fit(network, windows, settings.fit, epochs=epochs, progress=progress)
    facts |= {"parameters": count_parameters(network), "epochs": epochs}
    return windows, network, facts


def _network(settings: TrainSettings) -> Any:
    torch.manual_seed(settings.fit.seed)
    made = MixtureNetwork if settings.kind == "mixture" else DenseNetwork
    return made(settings.window)


def _test_scores(
    files: Mapping[str, Path], test: Sequence[Trace], settings: TrainSettings
) -> dict[str, dict[str, dict[str, Score]]]:
    """By frame rate, forecaster and group."""
    window = settings.window
    forecasters = {
        name: build_forecaster(settings.kind, window, {"model": str(file)}).forecast
        for name, file in files.items()
    }
    for name in ("last-window", "ewma"):
        forecasters[name] = build_forecaster(name, window).forecast
    try:
        return {
            f"{fps:g}": compare(forecasters, test, window, fps=fps) for fps in settings.recipe.fps
        }
    except TraceError:
        return {}  # no test sequence is long enough


def _card(
    settings: TrainSettings,
    learn: Sequence[Trace],
    test: Sequence[Trace],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "model": settings.kind,
        "licence": "Apache-2.0",
        "window": asdict(settings.window),
        **({"levels": list(LEVELS)} if settings.kind == "mixture" else {}),
        "data": {
            "origin": settings.origin,
            "trained_on": [trace.name for trace in learn],
            "trained_seconds": round(sum(trace.seconds for trace in learn), 1),
            "tested_on": [trace.name for trace in test],
            "tested_seconds": round(sum(trace.seconds for trace in test), 1),
            "recipe": asdict(settings.recipe),
        },
        "fit": asdict(settings.fit),
        "made_with": {name: version(name) for name in ("torch", "litert-torch", "numpy")},
        **facts,
    }


def _write_card(file: Path, card: Mapping[str, Any]) -> Path:
    """Write a card beside its model, which it names by its hash."""
    card_file = file.with_suffix(".json")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    text = json.dumps({"sha256": digest, **card}, indent=1)
    card_file.write_text(text + "\n", encoding="utf-8")
    return card_file


def _as_json(scores: Mapping[str, Mapping[str, Mapping[str, Score]]]) -> dict[str, Any]:
    return {
        fps: {
            name: {
                group: {
                    key: round(value, 4)
                    for key, value in asdict(entry).items()
                    if group == "all" or key in _OF_GROUPS
                }
                for group, entry in groups.items()
            }
            for name, groups in table.items()
        }
        for fps, table in scores.items()
    }
