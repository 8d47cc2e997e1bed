"""lrp_bench: which Layer-wise Relevance Propagation rule to trust, on your data and your model."""

__version__ = "0.1.0"
