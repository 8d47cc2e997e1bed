"""How much is there to read, and what does it cost?

sparseness.py measures how concentrated a map is, cost.py the time and memory of making it.
Begin with sparseness.py.
"""
