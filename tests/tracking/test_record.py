from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrp_bench.tracking import provenance, record


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(record).failed == 0


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300))
def test_a_clean_key_is_one_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    key = record.clean(f"m{name}")
    _validate_metric_name(key)
    assert record.clean(key) == key
    assert not re.search(r"[\[\]=+,]", key)


def test_a_process_is_alive_until_it_ends_and_has_been_replaced() -> None:
    me = provenance.describe()
    assert provenance.alive(me)
    assert not provenance.alive({**me, "pid.started": "1"})
    assert provenance.alive({**me, "pid.started": "1", "host": "another machine"})
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet collected: a zombie
        assert not provenance.alive({**me, "pid": str(process.pid), "pid.started": ""})


def test_on_windows_no_process_is_called_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert provenance.alive({"host": provenance.HOST, "pid": "1", "pid.started": "another"})


def test_the_commit_is_the_checkouts_own(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    assert provenance._commit(tmp_path) == {}
    git("init", "-q")
    assert provenance._commit(tmp_path) == {}
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "first")
    clean = {"mlflow.source.git.commit": git("rev-parse", "HEAD"), "git.dirty": "false"}
    assert provenance._commit(tmp_path) == clean
    (tmp_path / "a").write_text("2")
    assert provenance._commit(tmp_path) == {**clean, "git.dirty": "true"}
    (tmp_path / "inside").mkdir()
    assert provenance._commit(tmp_path / "inside") == {}


def test_choosing_the_tracker_package_costs_no_mlflow_and_no_torch() -> None:
    code = (
        "import sys, lrp_bench.tracking, lrp_bench.tracking.memory\n"
        "assert not {'mlflow', 'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
