"""Does the model react to what is called relevant?

flipping.py removes units in the order of relevance and reads its curves with readings.py; naopc.py normalises them,
word_deletion.py does it to words; permutation.py and summands.py compare with what features do to the loss and the sum.
Begin with flipping.py.
"""
