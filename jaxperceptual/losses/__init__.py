"""The perceptual losses (section 3.2): equations 2 to 5.

`terms` are the equations as arithmetic on features, `objective` is their weighted sum,
`goal` makes both from a config and a `style_image`. Imports `core`, `images`,
`loss_network`, `ops`.
"""
