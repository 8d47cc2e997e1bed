"""The papers: each rule is a list of terms, and a composite chooses the rule of each layer.

formulas.py holds the rules, composite.py how they are assigned, redistribution.py carries any of them out and accounts
for it. Begin with formulas.py; a layer is an `Affine`, whatever its kind.
"""

from lrp_bench.engine.rules.attention import Attention
from lrp_bench.engine.rules.formulas import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, Zero, ZPlus
from lrp_bench.engine.rules.rule import Bias, Rule

__all__ = ["AlphaBeta", "Attention", "Bias", "Epsilon", "Flat", "Gamma", "Rule", "WSquare", "ZBox", "ZPlus", "Zero"]
