"""What is written out as several operators: activation functions, softmax, masks of attention.

Each module finds one kind in a captured graph and puts one node, or one step, in its place. Begin with activations.py.
"""
