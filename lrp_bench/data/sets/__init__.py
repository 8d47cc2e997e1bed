"""The named data sets: each a source or two and its facts.

conf/dataset/NAME.yaml names the class of each. Begin with scikit.py, the shortest.
"""
