"""The engine on an accelerator that is not there; tests/made_up/engine.py has the tests."""

from __future__ import annotations

import pytest
from made_up.process import pass_there


def test_the_engine_stays_on_its_device_and_looks_once() -> None:
    pass_there("engine.py")


@pytest.mark.slow
def test_every_rule_on_every_network() -> None:
    pass_there("engine.py", "-m", "slow")
