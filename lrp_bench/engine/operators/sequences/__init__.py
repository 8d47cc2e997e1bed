"""Recurrent networks: unrolled over time, with the composite's rule for their linear parts.

recurrent.py walks the layers, cells.py one step of an LSTM, GRU or Elman cell, packed.py sequences of several lengths.
Begin with recurrent.py.
"""
