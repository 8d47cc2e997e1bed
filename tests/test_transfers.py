"""What is refused together is told as if each were looked at on its own, in its order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lrp_bench.contracts import BenchError, NotApplicable
from lrp_bench.transfers import known_good, read, refuse_where, settle, together

FINE, WRONG = torch.tensor([False, False]), torch.tensor([[False, True]])


def refuse(wrong: Tensor, message: str) -> None:
    refuse_where(wrong, lambda: BenchError(message))


def test_alone_it_is_refused_at_once() -> None:
    refuse(FINE, "a")
    with pytest.raises(BenchError, match=r"^b$"):
        refuse(WRONG, "b")


def test_together_the_first_is_told_at_the_end() -> None:
    done = []

    def work() -> None:
        with together():
            for wrong, message in ((FINE, "a"), (WRONG, "b"), (WRONG, "c")):
                refuse(wrong, message)
                done.append(message)

    with pytest.raises(BenchError, match=r"^b$"):
        work()
    assert done == ["a", "b", "c"]


@pytest.mark.parametrize("error", [BenchError("later"), RuntimeError("later"), KeyError("later")])
def test_what_was_wrong_before_comes_before_what_is_raised(error: Exception) -> None:
    def work(wrong: Tensor) -> None:
        with together():
            refuse(wrong, "before")
            raise error

    with pytest.raises(BenchError, match=r"^before$"):
        work(WRONG)
    with pytest.raises(type(error), match="later"):
        work(FINE)


def within(body: Callable[[], None]) -> None:
    with together():
        refuse(FINE, "outer")
        with together(lambda error: NotApplicable(f"told: {error}")):
            body()
        refuse(WRONG, "after")


def raising() -> None:
    raise BenchError("raised")


def test_an_inner_one_is_read_by_the_outer_and_told_in_its_own_words() -> None:
    with pytest.raises(NotApplicable, match=r"^told: inner$"):
        within(lambda: refuse(WRONG, "inner"))
    with pytest.raises(NotApplicable, match=r"^told: raised$"):
        within(raising)
    with pytest.raises(BenchError, match=r"^after$"):
        within(lambda: None)


def test_settled_is_settled() -> None:
    def work() -> None:
        with together():
            refuse(WRONG, "a")
            settle()
            raise RuntimeError("too late")

    with pytest.raises(BenchError, match=r"^a$"):
        work()
    with together():
        refuse(FINE, "a")
        settle()
    settle()


def test_what_is_known_to_be_good_is_not_read() -> None:
    with together(), known_good():
        refuse(WRONG, "a")


def test_after_an_error_nothing_is_left_over() -> None:
    with pytest.raises(BenchError), together():
        refuse(WRONG, "a")
    with together():
        refuse(FINE, "b")
    refuse(FINE, "c")


def test_values_of_the_cpu_are_handed_back() -> None:
    values = [torch.arange(3), torch.ones(2, 2)]
    assert all(a is b for a, b in zip(read(*values), values, strict=True))
