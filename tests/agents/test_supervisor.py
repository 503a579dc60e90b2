"""The supervisor: restarts with a growing pause, an orderly stop, and no orphans."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agents.supervisor import Supervisor, Worker, restart_pause
from tests.agents.plant import DEADLINE, wait_until


def test_pauses_grow_up_to_half_a_minute() -> None:
    pauses = [restart_pause(failures) for failures in range(1, 12)]
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30.0


class Trivial(Supervisor):
    """Runs a line of Python in place of a worker."""

    code = "import time; time.sleep(60)"

    def _command(self, worker: Worker) -> list[str]:
        del worker
        return [sys.executable, "-c", self.code]


class Dying(Trivial):
    code = "import sys; sys.exit('cannot go on')"


class Deaf(Trivial):
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(60)"
    )


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


def test_a_worker_that_ends_is_started_again_after_its_pause(
    tmp_path: Path, clock: Seconds
) -> None:
    ended: list[str] = []
    with Dying(
        tmp_path / "topics.yaml", "x", tmp_path, on_end=ended.append, monotonic=clock
    ) as supervisor:
        supervisor.start({"f": 1})
        worker = supervisor.workers[0]
        for failures in (1, 2, 3):
            wait_until(lambda: list(supervisor.watch()) == [worker], "its end is noticed")
            assert worker.failures == failures
            assert ended == ["f"] * failures
            assert worker.exit_code == 1
            assert worker.last_words() == ["cannot go on"]
            assert list(supervisor.watch()) == []
            assert worker.process is None, "not before its pause is over"
            clock.now += restart_pause(failures)
            assert list(supervisor.watch()) == []
            assert worker.restarts == failures


def test_leaving_stops_all_workers(tmp_path: Path) -> None:
    with Trivial(tmp_path / "topics.yaml", "x", tmp_path) as supervisor:
        supervisor.start({"f": 2, "g": 1})
        pids = [worker.pid for worker in supervisor.workers]
        assert [w.replica for w in supervisor.workers] == ["f-0", "f-1", "g-0"]
        assert all(pid is not None and psutil.pid_exists(pid) for pid in pids)
    assert not any(pid is not None and psutil.pid_exists(pid) for pid in pids)


def test_a_worker_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    supervisor = Deaf(tmp_path / "topics.yaml", "x", tmp_path)
    supervisor.start({"f": 1})
    worker = supervisor.workers[0]
    wait_until(lambda: worker.last_words() == ["deaf"], "it ignores SIGTERM")
    supervisor.stop(timeout=0.2)
    assert worker.exit_code == -signal.SIGKILL


def test_workers_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """The real command line with its guard; the worker itself only has to live long enough."""
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "__init__.py").touch()
    (tmp_path / "cli" / "__main__.py").write_text("import time\ntime.sleep(60)\n")
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from agents.supervisor import Supervisor\n"
        f"here = Path({str(tmp_path)!r})\n"
        f"s = Supervisor(here / 't.yaml', 'x', here, environment={{'PYTHONPATH': str(here)}})\n"
        "s.start({'f': 1})\nprint(s.workers[0].pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    ) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        worker = psutil.Process(pid)
        # until the guard has become the worker, it checks by itself that its parent lives
        wait_until(lambda: "cli" in worker.cmdline() and "-c" not in worker.cmdline(), "it runs")
        supervisor.kill()
    wait_until(
        lambda: not psutil.pid_exists(pid) or worker.status() == psutil.STATUS_ZOMBIE,
        "the worker ends too",
        DEADLINE,
    )


def test_workers_get_a_metrics_port_each_and_the_format_of_logs(tmp_path: Path) -> None:
    class Told(Supervisor):
        def _launch(self, worker: Worker) -> None:
            told.append(list(self._command(worker)))

    told: list[list[str]] = []
    supervisor = Told(tmp_path / "t.yaml", "x", tmp_path, log_format="json", metrics_port_base=9400)
    supervisor.start({"f": 2, "g": 1})
    assert [words[words.index("--metrics-port") + 1] for words in told] == ["9400", "9401", "9402"]
    assert all(words[words.index("--log-format") + 1] == "json" for words in told)
    assert [worker.metrics_port for worker in supervisor.workers] == [9400, 9401, 9402]
    told.clear()
    Told(tmp_path / "t.yaml", "x", tmp_path).start({"f": 1})
    assert "--metrics-port" not in told[0]
