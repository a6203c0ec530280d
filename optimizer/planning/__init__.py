"""From a snapshot to a plan: the problem, its laws, the solver, the heuristics."""
