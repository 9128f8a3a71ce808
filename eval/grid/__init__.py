"""python -m eval.grid: models x tasks x methods x seeds x kept entries, on one machine or many."""
