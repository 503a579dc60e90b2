"""Values of options as people write them."""

from __future__ import annotations

import pytest

from cli.values import seconds
from dataflow.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5.0), ("0.5", 0.5), (".5", 0.5), ("50ms", 0.05), ("2 m", 120.0)]
)
def test_durations_have_a_unit_or_are_seconds(text: str, value: float) -> None:
    assert seconds("--timeout", text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["²", "5²", "-5", "-5s", "", ".", "1.2.3", "soon", "nan", "inf"])
def test_what_is_no_duration_is_told_with_the_option(text: str) -> None:
    with pytest.raises(ConfigError, match="a duration is a number with a unit") as caught:
        seconds("--timeout", text)
    assert (caught.value.key, caught.value.value) == ("--timeout", text)
