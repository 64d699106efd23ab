"""Speed and memory: table 1, pieces of work against PyTorch, goals, comparisons.

Imports all but `figures`, `evaluation` and `commands`; nothing but `commands` imports
it. `python -m jaxperceptual.benchmarks.goals`, `.precisions`, `.optimizers` and
`.prepare_tfds` are programs.
"""
