from __future__ import annotations

import pytest

from dataflow.broker._faults import LOG_LINES_SHOWN, explain, relevant, since_last_start

START = "2026-01-01 INFO Registered `kafka:type=kafka.Log4jController` MBean (X)"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("java.io.IOException: No space left on device", "disk of its data folder is full"),
        ("java.io.IOException: File too large", "disk of its data folder is full"),
        ("java.net.BindException: Address already in use", "port is in use"),
        ("Failed to acquire lock on file .lock in /data", "another broker uses"),
        ("Invalid maximum heap size: -Xmx1x", "heap"),
        ("java.lang.UnsupportedClassVersionError: kafka/Kafka", "too old"),
        ("java.io.FileNotFoundException: /data/x (Permission denied)", "cannot be written"),
        ("org.apache.kafka.common.config.ConfigException: Invalid value x", "refused a property"),
        ("Error: Could not find or load main class kafka.Kafka", "missing or damaged"),
    ],
)
def test_known_causes_are_named_with_remedy_and_log(line: str, cause: str) -> None:
    text = str(explain("the broker died", [START, line, "INFO the end"], "/log/file"))
    assert text.startswith("the broker died: ")
    assert cause in text.splitlines()[0]
    assert "/log/file" in text
    assert line in text
    assert "remedy: " in text.splitlines()[-1]


def test_an_unknown_cause_shows_the_last_lines() -> None:
    text = str(explain("the broker died", ["one", "two"], "/log/file"))
    assert "    one\n    two\n" in text


def test_the_cause_is_shown_even_when_many_lines_follow() -> None:
    lines = ["x ERROR No space left on device", *["y ERROR something else"] * 50]
    assert "No space left" in str(explain("died", lines, "log").args[0].split("log lines:")[1])


def test_stack_frames_and_information_are_left_out_when_there_are_errors() -> None:
    lines = ["a INFO fine", "a ERROR bad", "\tat java.lang.Thread.run(Exception.java)", "a INFO b"]
    assert relevant(lines) == ["a ERROR bad"]
    assert len(relevant(["a ERROR x"] * 100)) == LOG_LINES_SHOWN


def test_errors_of_an_earlier_run_are_not_blamed() -> None:
    lines = [START, "ERROR No space left on device", START, "INFO fine"]
    assert since_last_start(lines) == [START, "INFO fine"]
    assert since_last_start(["no start"]) == ["no start"]
