"""Tables: what stands where, and how it is written in Markdown, LaTeX, CSV and on a terminal.

layout.py decides rows, columns and marks, cells.py writes numbers, formats.py and terminal.py the files. Begin with
layout.py.
"""
