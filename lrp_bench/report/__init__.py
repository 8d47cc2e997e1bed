"""From what the tracker holds to the tables, figures and pages of a paper. The package itself imports nothing.

Six wings, each of which knows only those before it: store (what the tracker holds), numbers (what it says), tables,
figures, claims (what was published beside it), pages (what readers get). Begin with __main__.py, the command.
"""
