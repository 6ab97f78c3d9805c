"""Claims of the literature about reflection, measured on stored rollouts: one measure a file.

All of them are ratios of sums over rollouts, kept apart by prompt, with the intervals of `aha.figures.bootstrap`;
`decomposition` says where a change of accuracy comes from. docs/measures.md says what each may not be used to say.
"""
