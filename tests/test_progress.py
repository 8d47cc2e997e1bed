from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from lrp_bench import progress


def test_a_bar_says_how_far_and_what_was_done_and_is_gone_afterwards() -> None:
    screen = io.StringIO()
    with progress.steps("zplus", 3, Console(file=screen, force_terminal=True, width=100)) as step:
        for word in ("explanations", "flipping", "agreement"):
            step(word)
    assert "zplus, agreement" in screen.getvalue()
    assert "3/3" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")  # the line is erased


def test_without_a_terminal_nothing_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert progress.terminal() is None
    with progress.steps("zplus", 1, None) as step:
        step("explanations")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("process", "shown"), [("MainProcess", True), ("LokyProcess-1", False)])
def test_of_several_processes_only_the_first_shows_a_bar(
    monkeypatch: pytest.MonkeyPatch, process: str, shown: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(progress, "current_process", lambda: SimpleNamespace(name=process))
    assert (progress.terminal() is not None) == shown
