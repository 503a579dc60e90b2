"""`videojam top`: what it draws, its lines, its JSON, and how it ends."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agents.overview import GroupView, overview
from agents.state import Balance, ForecasterState, LinkState
from cli.top import chosen
from cli.top_view import as_json, as_lines, as_tables, dump
from dataflow.broker import EmbeddedBroker
from dataflow.config import load_config
from dataflow.errors import ConfigError
from dataflow.transport.kafka import KafkaTransport
from tests.agents.plant import DEADLINE, Plant, wait_until
from tests.agents.processes import WorkerProcess, declare
from tests.agents.shown import NOW, row, sighting, state


def groups() -> tuple[GroupView, ...]:
    def balance(replica: str, **more: Any) -> Balance:
        known: dict[str, Any] = {"policy": "videojam", "row": row(replica), "arrivals": 30.0}
        return Balance.model_validate({**known, **more})

    busy = balance(
        "find-0",
        forecast=9,
        coming=31.0,
        quotas={"find-1": 4},
        offloaded={"find-1": 80},
        links={"find-1": LinkState(seconds=0.012, bytes_per_second=1e6)},
        signals_sent={"information-request": 2},
        signals_heard={"congestion-risk": 1},
        dropped={"queue-full": 6},
        overloaded_since=NOW - 30,
        forecaster=ForecasterState(compared=3, ratio=0.8),
    )
    before = state(at=NOW - 4, balance=balance("find-0", offloaded={"find-1": 40}))
    return overview(
        {"find": 2, "read": 1},
        [
            sighting("find-0", balance=busy, earlier=before, partitions=tuple(range(40))),
            sighting("find-1", balance=balance("find-1"), age=12.0),
        ],
        {"find": 5, "read": 0},
    )


def drawn(fault: str | None = None) -> str:
    # Whatever terminal the tests run in: a "dumb" one has 80 columns, whatever it is told.
    console = Console(
        file=io.StringIO(), width=200, force_terminal=True, color_system=None, _environ={}
    )
    console.print(as_tables(groups(), fault))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_tables_show_who_is_alive_how_loaded_and_who_sends_to_whom() -> None:
    text = drawn("no broker answers [here]")
    for words in (
        "find  videojam  1 of 2 replicas, 1 silent  in 30.0/s, forecast 31.0/s, 150% of 20.0/s",
        "lag 5",
        "overloaded for 30 s",
        "silent 12 s",
        "40 of them",
        "3+0",
        "200 ms",
        "2/1",
        "read  no balancer seen  0 of 1 replicas",
        "no broker answers [here]",
    ):
        assert words in text, words
    cells = [line.split() for line in text.splitlines()]
    (flow,) = [line for line in cells if line[:2] == ["find-0", "find-1"]]
    assert flow == ["find-0", "find-1", "10.0", "80", "4", "12", "ms"]


def test_lines_say_the_same() -> None:
    lines = list(as_lines(groups(), "a fault"))
    assert lines[0].startswith("find  videojam  1 of 2 replicas, 1 silent")
    assert lines[1].startswith("  find-0: alive; partitions 40 of them, in/s 30.0, out/s 12.5")
    assert "load 3+0, forecast 9, response 200 ms, given 80, taken 0, signals 2/1" in lines[1]
    assert "dropped 6" in lines[1]
    assert lines[2].startswith("  find-1: silent 12 s;")
    assert lines[3] == "  find-0 -> find-1: 80 items, 10.0/s, quota 4, link 12 ms"
    assert lines[-1] == "a fault"


def test_json_is_one_line_with_everything() -> None:
    line = dump(as_json(groups(), NOW, None))
    assert "\n" not in line
    shown = json.loads(line)
    find, read = shown["functions"]
    assert (shown["at"], shown["fault"]) == (NOW, None)
    assert (find["alive"], find["capacity"], find["load"]) == (1, 20.0, 1.5)
    assert [replica["alive"] for replica in find["replicas"]] == [True, False]
    assert find["replicas"][0]["dropped"] == {"queue-full": 6}
    assert find["replicas"][0]["forecaster"]["ratio"] == 0.8
    assert find["flows"][0]["rate"] == 10.0
    assert (read["replicas"], read["load"], read["lag"]) == ([], None, 0)


def test_only_declared_functions_can_be_asked_for(tmp_path: Path) -> None:
    file, config = declare(tmp_path, "localhost:1")
    assert chosen([], config, file) == chosen(["find"], config, file) == {"find": 1}
    with pytest.raises(ConfigError, match=r"'nobody'.*\n  remedy: declared: find"):
        chosen(["nobody"], config, file)


def videojam(*words: str, file: Path, ok: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "top", *words, "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=DEADLINE * 2,
        check=False,
    )
    assert done.returncode == ok, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_a_broker_that_is_away_is_said_with_the_remedy(tmp_path: Path) -> None:
    file, _ = declare(tmp_path, "127.0.0.1:1")
    assert "videojam broker start" in videojam("--once", file=file, ok=1)


@pytest.mark.broker
@pytest.mark.timeout(240)
def test_replicas_on_a_real_broker_are_seen_alive_then_silent(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    file, _ = declare(tmp_path, kafka.bootstrap_servers)
    told = videojam("--once", file=file, ok=1)
    assert "videojam topics apply" in told
    config = load_config(file)
    with KafkaTransport.from_config(config) as transport:
        plant = Plant(transport, config=config)
        with WorkerProcess(file, "one") as one:
            one.wait_for("owns")
            plant.send_frames(40, cameras=4)
            plant.wait_for_ends(40)

            def processed() -> bool:
                shown = json.loads(videojam("--once", "--json", file=file))
                (find,) = shown["functions"]
                return bool(find["processed"] == 40 and find["alive"] and find["capacity"] > 0)

            wait_until(processed, "its row says what it has done")
            lines = videojam("--once", "find", file=file)
            assert "one: alive; partitions 0,1,2,3" in lines
            one.process.kill()
            one.process.wait()
        wait_until(lambda: "one: silent" in videojam("--once", file=file), "it is silent", DEADLINE)


@pytest.mark.broker
def test_json_goes_on_a_line_a_look_until_it_is_ended(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    file, config = declare(tmp_path, kafka.bootstrap_servers)
    with KafkaTransport.from_config(config) as transport:
        Plant(transport, config=config)
    command = [sys.executable, "-m", "cli", "top", "--json", "--interval", "0.1"]
    with subprocess.Popen(
        [*command, "--config", str(file)], stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        looks = [json.loads(following.stdout.readline()) for _ in range(3)]
        following.send_signal(signal.SIGTERM)
        assert following.wait(DEADLINE) == 0
    assert looks[0]["at"] < looks[1]["at"] < looks[2]["at"]
