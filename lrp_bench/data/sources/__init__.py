"""Where samples come from.

folders.py reads pictures, pasting.py draws them. Begin with folders.py.
"""
