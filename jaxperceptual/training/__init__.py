"""f_W learns: the pmapped Adam step and the run around it (sections 4.1 and 4.2).

Imports `core`, `data`, `images`, `losses`, `networks`.
"""
