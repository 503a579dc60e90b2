"""Logs: no floods, and lines of JSON for what collects them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime

import pytest

from dataflow.errors import ConfigError
from dataflow.logs import JsonFormatter, OncePerPeriod, configure_logging, message_of


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def record(message: str, *arguments: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("videojam.worker", 30, __file__, 1, message, arguments, None)
    made.created = 1_700_000_000.25
    for name, value in more.items():
        setattr(made, name, value)
    return made


def fault() -> object:
    known: dict[str, int] = {}
    try:
        return known["by\nnought"]
    except KeyError as error:
        return (type(error), error, error.__traceback__)


def test_a_record_is_one_line_of_json_with_its_context() -> None:
    formatter = JsonFormatter({"function": "yolo", "replica": "yolo-0"})
    line = formatter.format(record('%d of "%s"\nnext', 3, "gate ü"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "WARNING",
        "logger": "videojam.worker",
        "message": '3 of "gate ü"\nnext',
        "function": "yolo",
        "replica": "yolo-0",
    }
    assert datetime.fromisoformat(json.loads(line)["time"]).timestamp() == 1_700_000_000.25


def test_an_exception_is_in_its_line_with_its_traceback() -> None:
    line = JsonFormatter().format(record("it failed", exc_info=fault()))
    assert "\n" not in line
    assert json.loads(line)["exception"].startswith("Traceback (most recent call last)")
    assert json.loads(line)["exception"].endswith(r"KeyError: 'by\nnought'")


def test_records_without_a_fault_have_no_exception() -> None:
    line = JsonFormatter().format(record("fine", exc_info=(None, None, None)))
    assert "exception" not in json.loads(line)


def test_json_is_chosen_when_logging_is_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json", context={"replica": "r"})
    log = logging.getLogger("videojam.worker")
    log.info("hello %s", "you")
    log.debug("not this")
    logging.getLogger("py.warnings").warning("%s", "old")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["hello you", "old"]
    assert {line["replica"] for line in lines} == {"r"}


def test_text_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("videojam.worker").info("hello")
    assert capsys.readouterr().err.endswith("INFO    videojam.worker: hello\n")


@pytest.mark.parametrize("library", ["videojam.kafka", "faust", "opentelemetry.sdk"])
def test_a_library_that_repeats_itself_is_heard_once(
    library: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", "json")
    for attempt in range(20):
        logging.getLogger(library).warning("no broker, attempt %d", attempt)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_level_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"'LOUD'.*\n  remedy: one of .*WARNING"):
        configure_logging("LOUD")


def test_a_message_is_let_through_again_after_the_period() -> None:
    now = 0.0
    once = OncePerPeriod(10, monotonic=lambda: now)
    said = []
    for _ in range(25):
        said.append(once.filter(record("away for %d s", int(now))))
        now += 1
    assert [second for second, passed in enumerate(said) if passed] == [0, 10, 20]


def test_the_message_of_a_line_is_found_in_both_formats() -> None:
    assert message_of("2024 INFO x: hello") == "2024 INFO x: hello"
    assert message_of(JsonFormatter().format(record("hello"))) == "hello"
    for line in ("{rubbish", '{"message": 3}', "{}", ""):
        assert message_of(line) == line
