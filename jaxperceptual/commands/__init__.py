"""What a user types: `jaxperceptual NAME`, or bin/NAME in a checkout, is `NAME` here.

Each is a parser, and a call into the room that does the work; none imports JAX before
it knows its arguments. Imports what it calls; nothing imports it but
`__main__`.
"""
