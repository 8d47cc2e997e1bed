"""The evaluators on an accelerator that is not there; tests/made_up/evaluators.py has the tests."""

from __future__ import annotations

from made_up.process import pass_there


def test_evaluators_stay_on_their_device_and_look_once() -> None:
    pass_there("evaluators.py")
