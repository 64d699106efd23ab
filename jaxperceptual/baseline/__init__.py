"""The baseline of Gatys et al. (section 4.1): the objective over the pixels, by L-BFGS.

`lbfgs` is the solver, for any function in a box; `pixels` gives it the objective of
images; `run` does so for many photos, into a `folder`. Imports `core`, `data`,
`images`, `losses`, `ops`.
"""
