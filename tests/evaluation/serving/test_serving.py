"""The serving simulator: its truth against the reference, its clock, and what it must not lose."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer import Typer
from typer.testing import CliRunner

from dataflow.errors import ConfigError
from evaluation.benchmarks import serving
from evaluation.serving.cases import Outcome, Policy, ServingCase
from evaluation.serving.controlled import serve_controlled
from evaluation.serving.direct import serve
from evaluation.serving.hardware import EmulatedGpu, Hardware
from evaluation.serving.sharing import Sharing
from evaluation.serving.traffic import (
    Traffic,
    draw_traffic,
    gaussian_rates,
    popularity,
    read_trace,
    trace_rates,
)
from evaluation.simulation.events import Loop, Rank
from roomie.coexecution import reference_drop
from roomie.costs import PairCosts
from roomie.devices import load_devices
from roomie.profiles import ProfileStore
from roomie.tables import KernelTable, kernel_table
from tests.roomie.kit import A100, kernel, profile

FULL = kernel(blocks=100_000, threads=256, us=100)
"""Fills the GPU."""
SMALL = kernel(blocks=108, threads=256, us=73)
"""One block an SM: an eighth of the warps."""


def mixed(name: str, lengths: list[int]) -> KernelTable:
    kernels = [
        kernel(blocks=100_000 if n % 2 else 108 * (1 + n % 5), us=length, threads=256)
        for n, length in enumerate(lengths)
    ]
    return kernel_table(profile(name, kernels=kernels))


# -- the truth ----------------------------------------------------------------------------------


def test_alone_a_model_is_not_stretched_and_two_that_fill_the_gpu_take_twice_as_long() -> None:
    full, small = (kernel_table(profile("n", kernels=[k])) for k in (FULL, SMALL))
    sharing = Sharing({0: full, 1: small})
    assert sharing.stretch((0,)) == 1
    assert sharing.stretch((0, 0)) == pytest.approx(2)
    assert sharing.stretch((0, 0, 0)) == pytest.approx(3)
    assert sharing.stretch((1,) * 8) == pytest.approx(1)
    assert sharing.stretch((1,) * 16) == pytest.approx(2)


def test_sets_are_stretched_as_the_reference_co_execution_has_it() -> None:
    tables = {
        0: mixed("a", [71, 93, 37, 11, 59, 83, 29]),
        1: mixed("b", [43, 101, 19, 67, 31]),
        2: mixed("c", [97, 13, 53, 79, 23, 47]),
    }
    sharing = Sharing(tables)
    for together in ((0, 1), (0, 2), (1, 2), (0, 1, 2)):
        # Repeated, so that the models drift over each other as servers' do.
        long = [
            dataclasses.replace(
                tables[n],
                durations_s=np.tile(tables[n].durations_s, 40),
                signature=np.tile(tables[n].signature, 40),
            )
            for n in together
        ]
        for drop in reference_drop(long, policy="proportional", starts=1):
            assert sharing.stretch(together) == pytest.approx(1 + drop.slowdown, rel=0.03)
    assert sharing.sets == 4


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(0, 2))
def test_one_more_never_makes_the_others_faster(active: list[int], more: int) -> None:
    sharing = Sharing({n: mixed(str(n), [7 + n, 13, 5 * n + 3]) for n in range(3)})
    without = sharing.stretch(tuple(sorted(active)))
    with_it = sharing.stretch(tuple(sorted([*active, more])))
    # Samples of another place are drawn anew: equal within their error.
    assert with_it >= without * 0.97


# -- the GPU ------------------------------------------------------------------------------------


class Doubling(Sharing):
    """Any two take twice as long, any three three times."""

    def __init__(self) -> None:
        super().__init__({})

    def stretch(self, active: tuple[int, ...]) -> float:
        return float(max(1, len(active)))


def test_batches_slow_down_while_they_overlap_and_only_then() -> None:
    loop = Loop()
    gpu = EmulatedGpu(loop, Doubling())
    ends: dict[str, float] = {}

    def run(name: str, at: float, seconds: float) -> None:
        def start() -> None:
            gpu.run(0, seconds, lambda: ends.__setitem__(name, loop.now))

        loop.at(at, Rank.DATA, start)

    run("long", 0.0, 4.0)
    run("short", 1.0, 1.0)
    run("later", 10.0, 2.0)
    loop.run(20.0)
    # From 1 to 3 both run at half speed.
    assert ends == pytest.approx({"short": 3.0, "long": 5.0, "later": 12.0})
    assert gpu.busy_s() == pytest.approx(7.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 5)), min_size=1, max_size=12))
def test_work_is_conserved(batches: list[tuple[float, float]]) -> None:
    loop = Loop()
    gpu = EmulatedGpu(loop, Doubling())
    done: list[float] = []
    for at, seconds in batches:

        def start(seconds: float = seconds) -> None:
            gpu.run(0, seconds, lambda: done.append(seconds))

        loop.at(at, Rank.DATA, start)
    loop.run(1000.0)
    assert sorted(done) == sorted(seconds for _, seconds in batches)
    # Shared in proportion, it is busy for as long as it would be with one after the other.
    assert gpu.busy_s() == pytest.approx(sum(done), rel=1e-6)


# -- traffic ------------------------------------------------------------------------------------


def test_a_trace_is_read_scaled_and_does_not_begin_in_a_gap(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv.gz"
    counts = [0, 0, *range(10, 40), 0, *range(10, 15)]
    text = "second,requests\n" + "".join(f"{n},{c}\n" for n, c in enumerate(counts))
    file.write_bytes(gzip.compress(text.encode()))
    trace = read_trace(file)
    assert trace.tolist() == counts
    for seed in range(30):
        rates = trace_rates(trace, seconds=10, mean=100, generator=np.random.default_rng(seed))
        assert rates.mean() == pytest.approx(100)
        assert rates.min() > 0
    fast = trace_rates(trace, seconds=5, mean=7, generator=np.random.default_rng(0), speed=7)
    assert fast.mean() == pytest.approx(7)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n", "header"),
        ("second,requests\n0,3\n1,x\n", "line 3|:3"),
        ("second,requests\n0,0\n", "no requests"),
    ],
)
def test_a_trace_that_is_none_is_an_error_with_its_place(
    tmp_path: Path, content: str, says: str
) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(content)
    with pytest.raises(ConfigError, match=says):
        read_trace(file)


def test_a_trace_that_is_too_short_or_not_there_or_broken_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 s only"):
        trace_rates(np.ones(3), seconds=4, mean=1, generator=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_trace(tmp_path / "none.csv")
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(gzip.compress(b"second,requests\n0,1\n")[:-9])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_trace(broken)


def test_requests_are_poisson_inside_the_second_and_models_follow_zipf() -> None:
    generator = np.random.default_rng(1)
    shares = popularity(5, 1.0, generator)
    assert sorted(shares / shares.max(), reverse=True) == pytest.approx(
        [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    )
    rates = gaussian_rates(seconds=200, mean=500, variation=0.2, generator=generator)
    assert rates.std() / rates.mean() == pytest.approx(0.2, abs=0.03)
    traffic = draw_traffic(rates, shares, generator)
    assert (np.diff(traffic.at_s) >= 0).all()
    counted = np.bincount(traffic.at_s.astype(int), minlength=200)
    # Poisson: the variance about the rate is the rate.
    assert np.mean((counted - rates) ** 2 / rates) == pytest.approx(1, abs=0.25)
    assert np.bincount(traffic.model) / len(traffic) == pytest.approx(shares, abs=0.01)


# -- serving ------------------------------------------------------------------------------------


def small_case(**settings: object) -> ServingCase:
    store = ProfileStore(
        [
            profile(name, batch, [kernel(us=100.0 * factor * (3 + batch))], time_s=None)
            for name, factor in (("a", 1), ("b", 2), ("c", 5))
            for batch in (1, 4, 8)
        ],
        load_devices(),
    )
    models = ("a", "b", "c")
    case = ServingCase(
        models=models,
        gpus=3,
        hardware=Hardware(store, A100, models),
        costs=PairCosts(store),
        most=4,
        patience_s=2.0,
    )
    return dataclasses.replace(case, **settings)  # type: ignore[arg-type] # options of several types


def some_traffic(rate: float, *, seconds: int = 20, seed: int = 0) -> Traffic:
    generator = np.random.default_rng(seed)
    rates = gaussian_rates(seconds=seconds, mean=rate, variation=0.2, generator=generator)
    return draw_traffic(rates, popularity(3, 1.0, generator), generator)


def one(name: str = "roomie", placer: str = "roomie", autoscaler: str = "roomie") -> Policy:
    return Policy(name=name, placer=placer, autoscaler=autoscaler)


def test_a_request_alone_takes_its_profile_s_time() -> None:
    at = np.arange(10, dtype=np.float64)
    traffic = Traffic(at_s=at, model=np.zeros(10, np.intp), seconds=10)
    outcome = serve(small_case(), one(autoscaler="none"), traffic)
    assert outcome.response_s == pytest.approx([400e-6] * 10)
    assert outcome.processed == 1
    assert outcome.utilisation == pytest.approx(10 * 400e-6 / 30)


def test_requests_that_wait_are_served_in_batches() -> None:
    traffic = Traffic(at_s=np.zeros(9), model=np.zeros(9, np.intp), seconds=1)
    outcome = serve(small_case(), one(autoscaler="none"), traffic)
    # The first alone; the other eight together: 400 us, then 1100 us.
    assert sorted(outcome.response_s) == pytest.approx([400e-6] + [1500e-6] * 8)


def test_windows_let_batches_fill_where_an_objective_leaves_time() -> None:
    traffic = some_traffic(900, seed=3)
    runs = {
        windows: serve(small_case(latency_s=0.5, windows=windows), one(autoscaler="none"), traffic)
        for windows in (True, False)
    }
    assert runs[True].mean_s > runs[False].mean_s
    assert runs[True].utilisation < runs[False].utilisation
    assert runs[True].quantile_s(0.95) < 0.5


@pytest.mark.parametrize(
    ("placer", "autoscaler"),
    list(itertools.product(["roomie", "infaas", "usher"], ["roomie", "infaas", "none"])),
)
def test_every_request_is_answered_or_given_up_and_runs_repeat_exactly(
    placer: str, autoscaler: str
) -> None:
    traffic = some_traffic(2500, seconds=5)
    policy = one("x", placer, autoscaler)
    first, second = (serve(small_case(), policy, traffic, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.response_s, second.response_s)
    assert first.changes == second.changes
    assert 0 < first.processed <= 1
    assert first.sent == len(traffic)
    assert (first.response_s > 0).all()
    assert (first.response_s <= 2.0).all()
    assert first.utilisation <= 1
    lost = first.sent - len(first.response_s)
    assert first.mean_with_lost_s == pytest.approx(
        (first.response_s.sum() + 2.0 * lost) / first.sent
    )


def test_overload_is_given_up_and_autoscaling_serves_more_of_it() -> None:
    traffic = some_traffic(8000, seconds=6)
    case = small_case(patience_s=0.5)
    runs: dict[str, Outcome] = {
        name: serve(case, one(name, "roomie", name), traffic) for name in ("none", "roomie")
    }
    assert runs["none"].processed < 0.9
    assert runs["roomie"].processed > runs["none"].processed
    assert runs["roomie"].changes.ups > 0
    assert runs["none"].changes.ups == 0


def test_surplus_goes_when_the_load_has() -> None:
    heavy, light = some_traffic(5000, seconds=8), some_traffic(20, seconds=60)
    traffic = Traffic(
        at_s=np.concatenate([heavy.at_s, light.at_s + 8]),
        model=np.concatenate([heavy.model, light.model]),
        seconds=68,
    )
    outcome = serve(small_case(), one(), traffic)
    assert outcome.changes.downs >= 1
    assert outcome.changes.instances[-1] < max(outcome.changes.instances)


def test_a_model_without_a_place_waits_for_one() -> None:
    # One GPU with room for two: the third model's requests are given up.
    case = small_case(gpus=1)
    big = ProfileStore(
        [dataclasses.replace(p, memory_bytes=15 << 30) for p in case.costs.store], load_devices()
    )
    case = dataclasses.replace(case, costs=PairCosts(big))
    traffic = some_traffic(50, seconds=5)
    outcome = serve(case, one("x", "least-loaded", "none"), traffic)
    assert set(outcome.model) == {0, 1}
    assert outcome.processed < 1


# -- the command --------------------------------------------------------------------------------


@pytest.fixture
def command() -> Typer:
    app = Typer()
    app.command()(serving.main)
    return app


def test_the_benchmark_prints_ratios_and_says_what_is_synthetic(
    command: Typer, tmp_path: Path
) -> None:
    file = tmp_path / "trace.csv"
    lines = "".join(f"{n},{20 + n % 7}\n" for n in range(60))
    file.write_text(f"second,requests\n{lines}")
    out, plot = tmp_path / "out.json", tmp_path / "plot.png"
    result = CliRunner().invoke(
        command,
        ["--figure", "4.4", "--loads", "0.03", "--seconds", "10",
         "--policy", "roomie", "--policy", "infaas", "--trace", str(file),
         "--forecaster", "ewma", "--json", str(out), "--plot", str(plot)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "synthetic" in result.stdout
    assert "Fig 4.4" in result.stdout
    assert "the thesis has up to 8.3 times" in result.stdout
    assert '"processed_percent"' in out.read_text()
    assert plot.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--figure", "4.9"], "4.9"),
        (["--policy", "nobody"], "nobody"),
        (["--loads", "0.1,x"], "--loads"),
        (["--loads", "0"], "--loads"),
        (["--trace", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_a_wrong_option_is_named(command: Typer, arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert says in result.output


# -- under the controller's core ----------------------------------------------------------------


@pytest.mark.parametrize("placer", ["roomie", "infaas"])
def test_under_the_core_every_request_is_answered_and_models_grow_and_shrink(placer: str) -> None:
    heavy, light = some_traffic(5000, seconds=12), some_traffic(20, seconds=60)
    traffic = Traffic(
        at_s=np.concatenate([heavy.at_s, light.at_s + 12]),
        model=np.concatenate([heavy.model, light.model]),
        seconds=72,
    )
    policy = one("x", placer, "roomie")
    first = serve_controlled(small_case(), policy, traffic)
    np.testing.assert_array_equal(
        first.response_s, serve_controlled(small_case(), policy, traffic).response_s
    )
    assert first.changes.ups >= 1
    assert first.changes.downs >= 1
    assert first.processed > 0.5
    assert first.response_s.min() == pytest.approx(400e-6)


def test_under_the_core_an_idle_cluster_changes_nothing() -> None:
    outcome = serve_controlled(small_case(), one(), some_traffic(20, seconds=30))
    assert outcome.processed == 1
    assert (outcome.changes.ups, outcome.changes.downs, outcome.changes.refused) == (0, 0, 0)
    assert set(outcome.changes.instances) == {3}
