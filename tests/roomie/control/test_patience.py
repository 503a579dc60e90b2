"""Time that a request's pieces are being answered is no waiting, and counts once."""

from __future__ import annotations

import pytest

from roomie.control.patience import Patience


def test_pieces_that_are_answered_at_the_same_time_move_the_end_once() -> None:
    patience = Patience(1.0)
    now = 0.0
    for _ in range(10):
        for _ in range(8):
            patience.sent(now)
        now += 0.2
        for _ in range(8):
            patience.ended(now, answered=True)
    assert patience.until - now == pytest.approx(1.0)


def test_answers_that_overlap_count_from_the_first_to_the_last() -> None:
    patience = Patience(1.0)
    patience.sent(0.0)
    patience.sent(1.0)
    patience.ended(3.0, answered=True)
    patience.ended(4.0, answered=True)
    assert patience.until == 5.0


def test_what_is_tried_in_vain_is_waiting() -> None:
    patience = Patience(10.0)
    patience.sent(0.0)
    patience.ended(3.0, answered=False)
    patience.sent(4.0)
    patience.ended(5.0, answered=True)
    assert patience.until == 11.0
