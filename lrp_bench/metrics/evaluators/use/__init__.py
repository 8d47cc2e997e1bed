"""What is the map good for?

selection.py keeps the relevant features and trains anew, uncertainty.py explains an ensemble, two_models.py tells a
trained model from a random one, adversarial.py an attacked input from a clean one.
Begin with selection.py.
"""
