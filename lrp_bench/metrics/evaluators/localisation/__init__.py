"""Does the relevance lie where the evidence is known to be?

localisation.py needs a data set that knows it.
Begin with localisation.py.
"""
