"""`videojam topics` on a cluster in a dictionary."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import cli.common
import cli.topics
from dataflow.config import Config, declared_topics
from tests.cli.conftest import Videojam
from tests.topics.declarations import declaration, declaration_text
from tests.topics.fake_admin import FakeAdmin

DECLARED = [spec.name for spec in declared_topics(declaration())]


@dataclass
class FakeTransport:
    """Hands out one admin."""

    fake: FakeAdmin

    def admin(self) -> FakeAdmin:
        return self.fake


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, videojam: Videojam) -> FakeAdmin:
    """An empty cluster that the command talks to, and a topics.yaml in its folder."""
    del videojam  # it changes to tmp_path
    (tmp_path / "topics.yaml").write_text(declaration_text())
    admin = FakeAdmin()

    @contextmanager
    def open_transport(config: Config) -> Iterator[FakeTransport]:
        assert config.deployment == "test"
        yield FakeTransport(admin)

    monkeypatch.setattr(cli.topics, "open_transport", open_transport)
    return admin


@pytest.fixture
def applied(cluster: FakeAdmin, videojam: Videojam) -> FakeAdmin:
    """The cluster after a first apply."""
    assert videojam("topics", "apply", "--yes").exit_code == 0
    cluster.calls.clear()
    return cluster


@pytest.fixture
def interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sits at the terminal."""
    monkeypatch.setattr(cli.common, "is_interactive", lambda: True)


def test_plan_tells_by_its_exit_code(cluster: FakeAdmin, videojam: Videojam) -> None:
    before = videojam("topics", "plan")
    assert before.exit_code == 2
    for name in DECLARED:
        assert f"+ {name}: create" in before.stdout
    assert cluster.topics == {}
    assert videojam("topics", "apply", "--yes").exit_code == 0
    after = videojam("topics", "plan")
    assert after.exit_code == 0
    assert "the cluster is as topics.yaml declares" in after.stdout


def test_plan_as_json(applied: FakeAdmin, videojam: Videojam) -> None:
    name = "test.motion.work"
    state = applied.topics[name]
    applied.topics[name] = replace(
        state, partitions=2, configs={**state.configs, "retention.ms": "-1", "segment.ms": "1"}
    )
    applied.topics["test.old"] = replace(state, name="test.old")
    result = videojam("topics", "plan", "--json")
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert [(c["action"], c["old"], c["new"]) for c in found["changes"]] == [
        ("add-partitions", 2, 4),
        ("set-config", "1", "60000"),
    ]
    assert [(s["key"], s["old"], s["new"]) for s in found["shrinks"]] == [
        ("retention.ms", "-1", "600000")
    ]
    assert found["unmanaged"] == ["test.old"]
    assert not found["in_sync"]


def test_a_plan_shows_old_and_new_in_peoples_units(applied: FakeAdmin, videojam: Videojam) -> None:
    name = "test.results.fixed"
    state = applied.topics[name]
    applied.topics[name] = replace(
        state, partitions=6, configs={**state.configs, "retention.ms": "3600000"}
    )
    out = videojam("topics", "plan").stdout
    assert f"~ {name}: retention.ms 1h -> 7d" in out
    assert f"! {name}: has 6 partitions, 4 are declared" in out
    assert "remedy: declare partitions: 6" in out


def test_apply_refuses_unasked_changes_without_a_terminal(
    cluster: FakeAdmin, videojam: Videojam
) -> None:
    result = videojam("topics", "apply")
    assert result.exit_code == 1
    assert "--yes" in result.stderr
    assert cluster.calls == []


@pytest.mark.usefixtures("interactive")
def test_apply_asks_at_a_terminal(cluster: FakeAdmin, videojam: Videojam) -> None:
    assert videojam("topics", "apply", stdin="n\n").exit_code == 1
    assert videojam("topics", "apply", stdin="\n").exit_code == 1
    assert cluster.calls == []
    assert videojam("topics", "apply", stdin="y\n").exit_code == 0
    assert list(cluster.topics) == DECLARED


def test_apply_twice_changes_nothing_and_needs_no_answer(
    applied: FakeAdmin, videojam: Videojam
) -> None:
    assert videojam("topics", "apply").exit_code == 0
    assert applied.calls == []


def test_apply_shrinks_only_when_told(applied: FakeAdmin, videojam: Videojam) -> None:
    name = "test.ocr.work"
    state = applied.topics[name]
    applied.topics[name] = replace(state, configs={**state.configs, "retention.ms": "-1"})
    withheld = videojam("topics", "apply", "--yes")
    assert withheld.exit_code == 2
    assert "--allow-shrink" in withheld.stdout
    assert applied.calls == []
    assert videojam("topics", "apply", "--yes", "--allow-shrink").exit_code == 0
    assert applied.topics[name].configs["retention.ms"] == "600000"


def test_a_cluster_that_refuses_ends_apply_with_its_reason(
    cluster: FakeAdmin, videojam: Videojam
) -> None:
    cluster.fail_at = 3
    result = videojam("topics", "apply", "--yes")
    assert result.exit_code == 1
    assert "the connection is gone" in result.stderr
    assert len(cluster.topics) == 3
    assert videojam("topics", "apply", "--yes").exit_code == 0


def test_delete_deletes_only_what_is_named(applied: FakeAdmin, videojam: Videojam) -> None:
    result = videojam("topics", "delete", "fixed", "--yes")
    assert result.exit_code == 0
    assert "- test.results.fixed  records: 28" in result.stdout
    assert applied.calls == [("delete", "test.results.fixed")]


def test_delete_without_a_name_or_an_answer_deletes_nothing(
    applied: FakeAdmin, videojam: Videojam
) -> None:
    assert videojam("topics", "delete", "--yes").exit_code == 1
    assert videojam("topics", "delete", "nobody", "--yes").exit_code == 1
    assert videojam("topics", "delete", "--all").exit_code == 1
    assert applied.calls == []


@pytest.mark.usefixtures("interactive")
def test_delete_asks_at_a_terminal(applied: FakeAdmin, videojam: Videojam) -> None:
    assert videojam("topics", "delete", "--all", stdin="n\n").exit_code == 1
    assert applied.calls == []
    assert videojam("topics", "delete", "--all", stdin="y\n").exit_code == 0
    assert applied.topics == {}


def test_unmanaged_topics_are_deleted_by_their_own_option_only(
    applied: FakeAdmin, videojam: Videojam
) -> None:
    for name in ("test.old", "test-2.old"):
        applied.topics[name] = replace(applied.topics[DECLARED[0]], name=name)
    assert videojam("topics", "delete", "--all", "--yes").exit_code == 0
    assert set(applied.topics) == {"test.old", "test-2.old"}
    assert videojam("topics", "delete", "--unmanaged", "--yes").exit_code == 0
    assert set(applied.topics) == {"test-2.old"}
    assert "nothing to delete" in videojam("topics", "delete", "--unmanaged").stdout


def test_list_tells_what_each_topic_is(applied: FakeAdmin, videojam: Videojam) -> None:
    applied.topics["test.old"] = replace(applied.topics[DECLARED[0]], name="test.old")
    del applied.topics["test.ocr.dead"]
    applied.topics["test.ocr.work"] = replace(applied.topics["test.ocr.work"], partitions=9)
    found = {
        row["topic"]: row["status"]
        for row in json.loads(videojam("topics", "list", "--json").stdout)
    }
    assert found.pop("test.old") == "unmanaged"
    assert found.pop("test.ocr.dead") == "missing"
    assert found.pop("test.ocr.work") == "differs"
    assert set(found.values()) == {"as declared"}
    table = videojam("topics", "list").stdout.splitlines()
    assert len(table) == 1 + len(DECLARED) + 1
    row = next(line for line in table if line.startswith("test.results.fixed "))
    assert row.split() == [
        "test.results.fixed",
        "4",
        "1",
        "delete",
        "7d",
        "unlimited",
        *["as", "declared"],
    ]


def test_a_bad_declaration_is_told_before_the_cluster_is_asked(
    videojam: Videojam, tmp_path: Path
) -> None:
    (tmp_path / "topics.yaml").write_text("version: 2\n")
    result = videojam("topics", "plan")
    assert result.exit_code == 1
    assert "topics.yaml:1: version" in result.stderr
