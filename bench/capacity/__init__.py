"""``python -m bench.capacity``: the largest batch, or the longest input, that a memory budget holds."""
