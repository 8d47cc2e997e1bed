"""How a command starts."""

from __future__ import annotations

import gc

import pytest

from lrp_bench.startup import uncollected


def test_garbage_is_looked_for_again_after_what_is_imported_once_and_whatever_went_wrong() -> None:
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            assert not gc.isenabled()
        assert gc.isenabled()  # a job within a command: the command itself has nothing more to import
    frozen = gc.get_freeze_count()
    assert frozen > 0
    later = [[] for _ in range(1000)]
    with pytest.raises(KeyError), uncollected():
        raise KeyError
    assert gc.isenabled()
    assert gc.get_freeze_count() <= frozen, f"{len(later)} lists of a job would stay for good"
