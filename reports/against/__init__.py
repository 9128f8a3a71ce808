"""Two sets of results, before and after: what changed by more than the noise, and by how much.

Only the same workload on the same machine is compared; code and libraries may differ, for that is the question. Runs of
two days are not interleaved, so a change of time counts where its Welch interval is clear of 1, Holm's p over all
figures is below 0.05, and it is larger than what either run's full fine-tuning differed from itself (A/A). Peaks are
exact: they count from one percent, which is what the instruments are tested to. Quality is paired by item and seed.
"""
