"""Thinning, live rate limits, playing at speed, back-off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.camera.pacing import Backoff, BackoffConfig, RateLimit, Schedule, Thinning
from dataflow.errors import ConfigError

RATES = st.floats(min_value=0.5, max_value=120.0)


def test_half_the_rate_keeps_every_second_frame() -> None:
    thinning = Thinning(12.5, 25.0)
    assert [thinning.keep() for _ in range(6)] == [True, False] * 3


@given(wanted=RATES, native=RATES)
def test_thinning_keeps_the_right_number_and_spreads_it_evenly(
    wanted: float, native: float
) -> None:
    thinning = Thinning(wanted, native)
    kept = [i for i in range(600) if thinning.keep()]
    assert kept[0] == 0
    if wanted >= native:
        assert len(kept) == 600
        return
    assert len(kept) == pytest.approx(600 * wanted / native, abs=1.01)
    gaps = np.diff(kept)
    if len(gaps):
        assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("native", [None, 10.0])
def test_no_rate_asked_for_keeps_everything(native: float | None) -> None:
    thinning = Thinning(None, native)
    assert all(thinning.keep() for _ in range(50))


def test_an_unknown_native_rate_keeps_everything() -> None:
    thinning = Thinning(5.0, None)
    assert all(thinning.keep() for _ in range(50))


@given(wanted=st.floats(min_value=1, max_value=20), seed=st.integers(0, 2**32 - 1))
def test_a_live_source_is_limited_by_time_in_spite_of_jitter(wanted: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrivals = np.arange(900) / 30.0 + rng.uniform(-0.01, 0.01, 900)
    limit = RateLimit(wanted)
    kept = sum(limit.keep(float(now)) for now in arrivals)
    assert kept == pytest.approx(30 * wanted, rel=0.05, abs=2)


def test_a_live_source_that_paused_does_not_catch_up() -> None:
    limit = RateLimit(1.0)
    assert limit.keep(0.0)
    kept = sum(limit.keep(100.0 + i / 30) for i in range(30))
    assert kept <= 2


def test_a_recording_waits_for_its_frames() -> None:
    schedule = Schedule()
    assert schedule.delay(0.0, 50.0) == 0
    assert schedule.delay(0.04, 50.01) == pytest.approx(0.03)
    assert schedule.delay(0.08, 50.3) == 0  # late, but not so late that the start is moved
    assert schedule.delay(0.4, 50.3) == pytest.approx(0.1)


def test_a_recording_that_fell_far_behind_goes_on_from_there() -> None:
    schedule = Schedule()
    schedule.delay(0.0, 50.0)
    assert schedule.delay(1.0, 60.0) == 0
    assert schedule.delay(1.5, 60.0) == pytest.approx(0.5)


@given(seed=st.integers(0, 2**32 - 1))
def test_backoff_grows_to_its_limit_and_no_further(seed: int) -> None:
    config = BackoffConfig(first=0.5, most=8.0, factor=2.0, jitter=0.5)
    backoff = Backoff(config, np.random.default_rng(seed))
    waits = [backoff.next() for _ in range(200)]
    for wait, full in zip(waits, [0.5, 1, 2, 4, 8] + [8] * 195, strict=True):
        assert full / 2 <= wait <= full
    backoff.reset()
    assert backoff.next() <= 0.5


def test_backoff_differs_between_cameras() -> None:
    config = BackoffConfig()
    one, other = (Backoff(config, np.random.default_rng(seed)) for seed in (1, 2))
    assert one.next() != other.next()


@pytest.mark.parametrize(
    "wrong", [{"first": 0.0}, {"first": 2.0, "most": 1.0}, {"factor": 0.5}, {"jitter": 1.5}]
)
def test_a_senseless_backoff_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="0 < first <= most"):
        BackoffConfig(**wrong)
