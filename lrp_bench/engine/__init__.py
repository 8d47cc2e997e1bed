"""The relevance engine: LRP for any PyTorch model that torch.export can capture."""

from lrp_bench.engine.propagate import LRP

__all__ = ["LRP"]
