"""Speed and memory: table 1, pieces of work against PyTorch, goals, comparisons.

`plan` makes pieces of work from options, `pieces` says what they are, `ours`, `torch`
and `runtimes` do them, `timing` measures. Programs of their own, by
`python -m jaxperceptual.benchmarks.NAME`: `speed_goals`, `precisions`, `optimizers`,
`recipes`, `objectives`, `first_picture` (against `peer_program`), `prepare_tfds`.
Imports all but `figures`, `evaluation` and `commands`; nothing but `commands` imports
it.
"""
