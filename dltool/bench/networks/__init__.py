"""Models as a workload: their precisions, how a step of one is made and by which backend, and what is found out of it.

The models come from `dltool.zoo` or are the user's own; `dltool.bench.workloads` has the workload that the harness runs.
"""
