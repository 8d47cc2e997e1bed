"""What the tracker holds, as tidy frames.

collect.py reads the runs of a sweep, artifacts.py the files of one run, results.py makes frames of them. Begin with
results.py; only collect.py knows MLflow.
"""
