"""From a module, or a program of torch.export, to a flat graph of ATen operators.

capture.py makes it, fold.py makes it plain, graph.py is its vocabulary, cache.py keeps it while weights change.
Begin with capture.py.
"""
