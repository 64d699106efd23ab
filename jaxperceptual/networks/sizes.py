"""Numbers of f_W (supplementary, table 1); nothing here imports JAX."""

BORDER = 40  # px of reflection: ten unpadded 3 x 3 convolutions at a quarter size
NUM_RESIDUAL_BLOCKS = 5
EPSILON = 1e-5  # Torch's, in both norms
# Each output pixel sums 9 * 9 * 32 = 2,592 rectified inputs of mean 0.4, so one Adam
# step of 1e-3 can move the sum by 1: at scale 1 that is most of the tanh's slope, and
# ten steps drive it into the flat ends. What functions the network can be is the same.
TANH_SCALE = 20.0
