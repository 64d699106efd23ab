"""PyTorch doing the same work with the same weights: an independent formulation.

PyTorch is an extra, and imported here and in `optimizers` alone. Imports what
`benchmarks` does.
"""
