"""``python -m bench.gradients``: how MLP gradients look in the original space and in rotated ones."""
