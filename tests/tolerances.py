"""How far two results may be apart, named after the cause.

Where the cause is a file's own, its tolerance stands at the top of that file.
"""

# ---- arguments of np.testing.assert_allclose ---------------------------------------

FEW_ROUNDINGS = dict(rtol=1e-6)  # a handful of float32 operations, 6e-8 each
REORDERED_SUM = dict(rtol=1e-5, atol=1e-6)  # float32 sums in another order
REORDERED_TOTAL = dict(rtol=1e-5)  # the same, of summands that do not cancel
OTHER_FRAMEWORK = dict(rtol=1e-4)  # VGG-16 in PyTorch: objectives, and norms of maps
# Convolutions of float32 in other forms, where the largest result is 1; the rows of
# Winograd's transforms are weighted by up to 8.
WINOGRAD = dict(rtol=2e-4, atol=2e-5)

# Of pixels, in grey levels of 255, whose last digit is 1.5e-5.
ROUNDED_TO_8_BITS = dict(rtol=0, atol=0.51)
PIXEL_ROUNDINGS = dict(rtol=0, atol=1e-3)  # a few dozen float32 operations
THROUGH_A_NETWORK = dict(rtol=0, atol=0.01)  # float32 sums of up to 16 layers, norms

# ---- bounds of a relative error in the norm, |a - b| / |b| --------------------------

# A ReLU or a maximum whose inputs nearly tie decides otherwise, and moves a gradient
# by as much; rounding alone is 1e-6.
NEAR_TIES = 1e-3
