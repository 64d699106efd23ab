"""Speed and memory: table 1, pieces of work against PyTorch, goals, comparisons.

`plan` makes pieces of work from options, `pieces` says what they are, `ours`, `torch`
and `runtimes` do them, `timing` measures. `python -m jaxperceptual.benchmarks.speed_goals`,
`.precisions`, `.optimizers` and `.prepare_tfds` are programs. Imports all but
`figures`, `evaluation` and `commands`; nothing but `commands` imports it.
"""
