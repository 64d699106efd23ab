"""What every program here needs beneath the paper and its pictures.

Errors, files that appear whole, folders, signals, memory, the compiler's cache,
precision, configs and the keys that they gained, records, other people's weights
files, the frame of a command.
Imports nothing of the package.
"""
