"""The perceptual losses (section 3.2): equations 2 to 5.

`terms` are the equations as arithmetic on features, `objective` is their weighted sum,
`goal` the one that a config means. Imports `core`, `images`, `loss_network`, `ops`.
"""
