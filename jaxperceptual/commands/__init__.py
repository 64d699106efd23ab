"""What a user types: `jaxperceptual NAME`, or bin/NAME in a checkout.

It runs NAME.py here: a parser, and a call into the room that does the work; JAX is
imported in between. A new one is a module here, its name in `__main__.COMMANDS`, and a
copy of a file in bin/. Imports what it calls; nothing imports it but `__main__`.
"""
