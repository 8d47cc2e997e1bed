"""From a captured graph and a composite to a module whose gradient is the relevance.

survey.py finds each operator's row of the table and refuses what has none, names.py names it, rewrite.py gives it its
step; the others make that quick, or recordable. Begin with rewrite.py.
"""
