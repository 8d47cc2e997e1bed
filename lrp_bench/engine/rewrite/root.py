"""The modules that a rewritten graph calls."""

from __future__ import annotations

from torch import fx, nn


class Root(nn.Module):
    """The steps by name, and the constants beside them."""

    def add(self, step: nn.Module) -> str:
        """A name for the step."""
        name = f"step_{len(self._modules)}"
        self.add_module(name, step)
        return name

    def step(self, node: fx.Node) -> nn.Module | None:
        """What the node calls; None where that is no step."""
        return self.get_submodule(str(node.target)) if node.op == "call_module" else None
