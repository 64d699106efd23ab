"""phi, the loss network: VGG-16 up to a layer, and its weights (section 3).

From other people's files (`containers`, `dialects`, `conversion`) to the one that is
read here (`weights`, `store`), to activations (`vgg`). Imports `core`, `ops`.
"""
