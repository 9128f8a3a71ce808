"""Cost: what a training method takes in time and memory, measured so that a reader can check it.

This is also the harness that `eval` and `reports` build on: the workload, the one train step, the record of
a run and the statistics live here. `bench` imports `sparsegrad` and never the rooms above it.
"""
