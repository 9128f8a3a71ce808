"""``python -m bench.sparsity``: what a step costs and what it keeps, for each number of kept entries."""
