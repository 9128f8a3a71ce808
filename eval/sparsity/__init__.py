"""python -m eval.sparsity: quality against the entries kept, the paper's ablation, answered by a paired test."""
