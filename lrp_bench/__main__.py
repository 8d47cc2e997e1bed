"""`python -m lrp_bench`."""

from lrp_bench.cli import main

main()
