"""What was published beside what was measured.

study.py reads experiments/NAME.yaml, evidence.py what the store holds of it, verdicts.py judges. Begin with study.py.
"""
