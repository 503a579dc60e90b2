"""What makes the benchmark end with 1."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks.control_plane import deploy, kills
from evaluation.command import run
from evaluation.control_plane.kills import Kill, Killing
from evaluation.control_plane.models import INPUT, version_of, write_model
from evaluation.control_plane.report import (
    draw,
    killing_json,
    kills_table,
    rollbacks_table,
    rolling_json,
)
from evaluation.control_plane.requests import Request, Served
from evaluation.control_plane.rollbacks import Attempt, RollingBack, seen
from evaluation.control_plane.watching import Convergence

KILL = Kill(
    kind="node",
    victim="edge-1",
    killed=10.0,
    begun=13.0,
    restarted=14.0,
    convergence=Convergence(at=20.0),
    remains=(),
)
SERVED = Served(sent=50, failed=0, bound=0, unexcused=(), slowest=0.4, silence=0.5)
REQUESTS = tuple(Request(model="m", sent=t, ended=t + 0.1, version=1) for t in range(30))


def killing(kill: Kill = KILL, served: Served = SERVED, **other: tuple[str, ...]) -> Killing:
    return Killing(
        kills=(kill,),
        served=(served,),
        stray=other.get("stray", ()),
        promises=other.get("promises", ()),
        orders=3,
        requests=REQUESTS,
        limit=10.0,
    )


def test_a_run_in_which_everything_held_has_no_faults() -> None:
    assert killing().faults() == []


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (
            killing(replace(KILL, convergence=Convergence(at=24.5))),
            "kill 1 (node edge-1): converged 10.5 s after the last restart, more than 10 s",
        ),
        (
            killing(replace(KILL, convergence=Convergence(at=None, lacking=("m is not placed",)))),
            "kill 1 (node edge-1): it has not converged: m is not placed",
        ),
        (
            killing(replace(KILL, remains=("stub (pid 7)",))),
            "kill 1 (node edge-1): stub (pid 7) still runs",
        ),
        (
            killing(served=replace(SERVED, failed=1, unexcused=("it",))),
            "a request failed that could have been answered in kill 1 (node edge-1); the first: it",
        ),
        (
            killing(stray=("m at 3 s: gone",)),
            "a request failed while nothing was dead; the first: m at 3 s: gone",
        ),
        (killing(promises=("the deploy of m was lost",)), "the deploy of m was lost"),
    ],
)
def test_each_thing_that_does_not_hold_is_a_sentence(run: Killing, sentence: str) -> None:
    assert run.faults() == [sentence]


def test_an_orphan_is_named() -> None:
    lost = Convergence(at=None, lacking=("m.1 runs",), orphans=("m.1 on edge-1",))
    faults = killing(replace(KILL, convergence=lost)).faults()
    assert "kill 1 (node edge-1): m.1 on edge-1 is an orphan" in faults


ATTEMPT = Attempt(
    behaviour="slow",
    version=2,
    began=10.0,
    ended=12.0,
    outcome="rolled-back",
    reason="too slow",
    kept=True,
    lacking=(),
)


def steady(version: int = 1) -> list[Request]:
    return [
        Request(model="m", sent=9 + n / 10, ended=9 + n / 10 + 0.01, version=version)
        for n in range(40)
    ]


def test_a_version_that_is_rolled_back_while_the_old_one_serves_is_no_fault() -> None:
    attempt = seen(ATTEMPT, [*steady(), Request(model="m", sent=11, ended=11.3, version=2)])
    assert attempt.faults() == []
    assert (attempt.old, attempt.new) == (20, 1)


def test_what_should_not_happen_to_a_bad_version_is_said() -> None:
    gap = [r for r in steady() if not 10.5 < r.ended < 11.8]
    failed = Request(model="m", sent=11.0, ended=11.5, error="no")
    attempt = seen(replace(ATTEMPT, outcome="rolled-out", kept=False), [*gap, failed])
    failure, *others = attempt.faults()
    assert failure.startswith("a request failed while version 2 (slow) was on its way in; ")
    assert failure.endswith("the first: m at 11.0 s, after 0.5 s: no")
    assert others == [
        "version 2 (slow) is rolled-out, not rolled-back: too slow",
        "version 2 (slow): instances of the old version were replaced",
        "version 2 (slow): the old version did not answer for 1.4 s, more than 1 s",
    ]
    run = RollingBack(attempts=(attempt,), requests=(failed,))
    assert run.faults()[-1] == "not tried after that: broken, erring, good"


def test_a_good_version_is_to_come_in() -> None:
    good = seen(replace(ATTEMPT, behaviour="good", outcome="rolled-out", kept=False), steady(2))
    assert good.faults() == []


def test_tables_figures_and_plot_show_a_run(tmp_path: Path) -> None:
    late = replace(KILL, convergence=Convergence(at=None, lacking=("m",)))
    assert kills_table(killing(late)).row_count == 1
    attempt = seen(ATTEMPT, steady())
    assert rollbacks_table(RollingBack(attempts=(attempt,), requests=())).row_count == 1
    assert json.dumps(rolling_json(RollingBack(attempts=(attempt,), requests=())))
    figures = killing_json(killing(late))
    assert len(json.loads(json.dumps(figures))["seconds"]) == 30
    draw(killing(late), tmp_path / "kills.png")
    assert (tmp_path / "kills.png").stat().st_size > 1000


def test_an_unknown_kind_is_refused_before_anything_is_started(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(deploy, kills, arguments=["kills", "--kinds", "broker,moon"])
    assert ended.value.code == 2
    assert "'moon' is none of" in capsys.readouterr().err


def test_an_answer_tells_its_version(tmp_path: Path) -> None:
    assert version_of({"y": 3 * INPUT}) == 3
    for wrong in (0.5 * INPUT, 0 * INPUT, np.arange(4, dtype=np.float32)[None]):
        with pytest.raises(ValueError, match="is no answer"):
            version_of({"y": wrong})
    write_model(tmp_path, "m", {1: "good", 2: "slow"})
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"config.pbtxt", "1", "2"}
