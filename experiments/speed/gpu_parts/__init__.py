"""The parts of gpu.py: each measures one thing, in a process of its own, and writes down what it finds at once."""
