"""Does the map change with the weights and with the class?

randomisation.py randomises layers one after the other (MPRT), random_logit.py explains another class.
Begin with randomisation.py.
"""
