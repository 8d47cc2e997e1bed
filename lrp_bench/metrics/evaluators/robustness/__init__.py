"""Does the map change little where the input does?

robustness.py measures max-sensitivity and infidelity.
Begin with robustness.py.
"""
