"""What a program needs that knows neither the paper nor a picture.

Errors, files that appear whole, folders, signals, memory, the compiler's cache,
precision, configs, records and the frame of a command. Imports nothing of the package.
"""
