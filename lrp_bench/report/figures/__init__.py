"""Figures, without pyplot, all in one style.

style.py holds colours, sizes and how a figure is saved; sweep.py draws every figure that a sweep's numbers allow, each
by a module of its own. Begin with sweep.py.
"""
