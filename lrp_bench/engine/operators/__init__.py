"""How relevance passes each kind of operator: its forward, and a backward that is a relevance rule.

table.py says of every ATen operator what becomes of it; steps.py holds the steps that most of them get, the other
modules those of their own kind, sequences/ those of recurrent networks; written/ finds what is written out as several
operators. Begin with table.py.
"""
