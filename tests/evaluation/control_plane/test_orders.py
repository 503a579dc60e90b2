"""What acknowledged orders come to, and what counts as a broken promise."""

from __future__ import annotations

from typing import Literal

import pytest

from evaluation.control_plane.orders import Ledger, Wish, broken_promises
from roomie.control.orders import new_order
from roomie.control.records import ModelSpec, Order, Status


def deploy(model: str = "m", **spec: int) -> Order:
    made = ModelSpec.model_validate({"model": model, **spec})
    return new_order("deploy", model, source="/test", at=0.0, spec=made)


def said(order: Order, event: Literal["accepted", "ready", "rolled-back", "removed"]) -> Status:
    return Status(model=order.model, order=order.id, event=event, reason="so", at=1.0)


def test_orders_come_to_what_the_last_of_them_says() -> None:
    ledger = Ledger()
    ledger.acknowledged(deploy("m", instances=2))
    ledger.acknowledged(deploy("n"))
    ledger.acknowledged(new_order("scale", "m", source="/test", at=0.0, instances=3))
    bad = ModelSpec(model="m", version=2)
    update = new_order("update", "m", source="/test", at=0.0, spec=bad)
    ledger.acknowledged(update, succeeds=False)
    assert ledger.wishes() == {
        "m": Wish(version=1, instances=3),
        "n": Wish(version=1, instances=1),
    }
    ledger.acknowledged(new_order("undeploy", "m", source="/test", at=0.0))
    assert ledger.wishes().keys() == {"n"}
    assert len(ledger.orders) == 5


def test_a_promise_is_kept_by_one_outcome_of_the_right_kind() -> None:
    order, gone = deploy(), new_order("undeploy", "n", source="/test", at=0.0)
    statuses = [said(order, "accepted"), said(order, "ready"), said(gone, "removed")]
    assert broken_promises([order, gone], statuses) == []


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        (["accepted"], "the deploy of m was acknowledged and has no outcome"),
        (["ready", "ready"], "the deploy of m has 2 outcomes: ready, ready"),
        (["rolled-back"], "the deploy of m ended as rolled-back: so"),
    ],
)
def test_an_order_that_is_lost_or_ends_otherwise_is_a_broken_promise(
    events: list[Literal["accepted", "ready", "rolled-back"]], sentence: str
) -> None:
    order = deploy()
    assert broken_promises([order], [said(order, event) for event in events]) == [sentence]
