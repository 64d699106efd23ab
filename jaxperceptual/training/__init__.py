"""f_W learns: the pmapped Adam step and the run around it (sections 4.1 and 4.2).

`run` is the whole, from a config to a model file; `loop` goes over the updates of
`step`, on `devices`, by `optimizer`; `checks` refuses what cannot be, `checkpoints` and
`reporting` write. Imports `core`, `data`, `images`, `losses`, `networks`.
"""
