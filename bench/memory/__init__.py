"""``python -m bench.memory``: what the memory of each method's train step consists of, measured or predicted."""
