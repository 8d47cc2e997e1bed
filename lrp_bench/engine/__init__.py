"""The relevance engine: LRP for any PyTorch model that torch.export can capture.

Four wings, each of which knows only those before it: capture (a module becomes a graph), rules (the papers), operators
(how relevance passes each kind), rewrite (the graph becomes a module whose gradient is the relevance). propagate.py
puts them together, composites.py names the composites of the literature. Begin with propagate.py.
"""

from lrp_bench.engine.propagate import LRP

__all__ = ["LRP"]
