"""The named data sets: each a source or two and its facts.

Each is a `TensorData` that says how it is read; conf/dataset/NAME.yaml holds the rest. Begin with scikit.py.
"""
