"""Does the relevance add up to the score, and where did it go?

conservation.py compares sums, relevance.py shows the relevance itself with what biases and stabilisers took.
Begin with conservation.py.
"""
