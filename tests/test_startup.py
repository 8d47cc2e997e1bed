"""How a command starts."""

from __future__ import annotations

import gc
import sys
from types import ModuleType

import pytest

from lrp_bench.startup import uncollected


def test_garbage_is_looked_for_again_after_what_is_imported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        monkeypatch.setitem(sys.modules, "lrp_bench_imported_just_now", ModuleType("x"))
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    assert frozen > before
    later = [[] for _ in range(1000)]
    with pytest.raises(KeyError), uncollected():
        raise KeyError
    assert gc.isenabled()
    assert gc.get_freeze_count() <= frozen, f"{len(later)} lists of a job would stay for good"


def test_who_does_not_want_garbage_looked_for_is_left_alone() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
