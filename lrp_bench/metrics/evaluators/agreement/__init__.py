"""How far does the map agree with another method's?

agreement.py compares with each of the baselines.
Begin with agreement.py.
"""
