"""What the frames say: intervals, ranks, paired tests, and what follows from them in words.

statistics.py holds intervals, significance.py p-values, ranking.py ranks and ties; comparison.py puts those of a sweep
together. Begin with comparison.py.
"""
