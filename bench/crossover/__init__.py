"""``python -m bench.crossover``: which way of multiplying wins, by layer shape, active rows and kept entries."""
