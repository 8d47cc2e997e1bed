"""Captured programs that are kept while the weights change."""

from __future__ import annotations

from torch import nn
from torch.export import ExportedProgram

from lrp_bench.engine.capture.capture import Program
from lrp_bench.engine.capture.restoring import Written
from lrp_bench.engine.capture.structure import Structure, structure, weights_of


class Programs:
    """The programs of one model by what they were captured for, as long as the model's structure stays."""

    def __init__(self, model: nn.Module | ExportedProgram) -> None:
        self.model = model
        self.structure: Structure | None = None
        self.kept: dict[object, Program] = {}

    def bound(self, key: object, written: Written) -> Program | None:
        """One to rewrite, with the model's weights as they are; None where it must be captured."""
        if not isinstance(self.model, nn.Module):
            return None
        now = structure(self.model, written)
        if now is None or now != self.structure:
            self.kept.clear()
        self.structure = now
        return self.kept[key].bound(weights_of(self.model)) if key in self.kept else None

    def keep(self, key: object, program: Program, written: Written) -> None:
        """Keep a copy of what was just captured, after it was asked for in vain; by now `written` is known."""
        if written and isinstance(self.model, nn.Module):
            self.structure = structure(self.model, written)
        if self.structure is not None and isinstance(self.model, nn.Module) and program.reads(weights_of(self.model)):
            self.kept[key] = program.copy()
