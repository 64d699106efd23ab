"""Less flicker: each frame blended with the one before it, moved along optical flow.

A style network makes each frame anew, so that its strokes jump where the picture hardly
changes. Here out[t] = s + k m (w(out[t-1]) - s), with s the stylised frame, w what
moves a picture along the flow from frame t to t-1, k how much is kept, and m from 0 to
1: where the flow explains what is seen. It is 0 where forward and backward flow
disagree, at the borders of motion (Ruder et al., "Artistic Style Transfer for Videos",
2016) and where the moved last frame differs from this one, so that what appears, and
a cut, begins anew. Averaging blurs; what is shown is sharpened by as much as
keeps the gradients' energy of s.

Without OpenCV the flow is taken for 0, which holds for a camera on a tripod.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from jaxperceptual.core.types import Image

KEEP = 0.9
FLOW_SIDE = 256  # px: finer flow of larger frames takes longer and is believed less
_UNEXPLAINED = 12.0  # grey levels of 255, after which a flow is not believed
_UNMOVED = 4.0  # the same, without a flow
_MOST_SHARPENED = 1.5


class Motion(NamedTuple):
    """From a frame to the one before it.

    flow: Where each pixel was, [dx dy] px away; None: where it is.
    mask: 0 to 1, whether to believe it.
    """

    flow: Float32[np.ndarray, "h w 2"] | None
    mask: Float32[np.ndarray, "h w"]


def has_flow() -> bool:
    """Whether OpenCV is installed."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        return False
    return True


class MotionFinder:
    """Of frames as they come, the motion since the last one; of the first None."""

    def __init__(self):
        self._last: UInt8[np.ndarray, "h w 3"] | None = None
        self._last_grey = None
        self._flow = None
        if has_flow():
            import cv2

            preset = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
            self._flow = cv2.DISOpticalFlow_create(preset)

    def __call__(self, frame: UInt8[np.ndarray, "h w 3"]) -> Motion | None:
        if self._flow is None:
            last, self._last = self._last, frame
            return None if last is None else _unmoved(frame, last)
        import cv2

        h, w, _ = frame.shape
        factor = min(1.0, FLOW_SIDE / max(h, w))
        # DIS looks at patches of 8 px at several scales.
        size = max(16, round(w * factor)), max(16, round(h * factor))
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        last, self._last = self._last, small
        last_grey, self._last_grey = self._last_grey, grey
        if last is None:
            return None
        back = self._flow.calc(grey, last_grey, None)
        ahead = self._flow.calc(last_grey, grey, None)
        mask = consistent(back, ahead).astype(np.float32)
        # As small as the flow, where a film's grain is averaged away.
        apart = cv2.absdiff(warped(last, back), small)
        apart = _grey(apart.astype(np.float32)) / np.float32(_UNEXPLAINED)
        mask *= cv2.exp(-(apart**2))
        mask = cv2.erode(mask, np.ones((3, 3), np.uint8))
        mask = cv2.GaussianBlur(mask, (0, 0), 1.5)
        if size != (w, h):
            back = cv2.resize(back, (w, h), interpolation=cv2.INTER_LINEAR)
            back *= np.float32([w / size[0], h / size[1]])
            mask = cv2.resize(mask, (w, h), interpolation=cv2.INTER_LINEAR)
        return Motion(back, mask)


def _unmoved(frame, last):
    from scipy import ndimage

    apart = _grey(np.abs(frame.astype(np.float32) - last))
    apart = ndimage.gaussian_filter(apart, 2)
    return Motion(None, np.exp(-((apart / _UNMOVED) ** 2)))


def consistent(back, ahead):
    """Bool [h w]: visible in both, as Ruder et al., section 4.1, have it.

    That is where going there and back ends where it began, inside, and not where the
    motion changes. back, ahead: flows [h w 2] in px.
    """
    returned = warped(ahead, back)
    length = (back**2).sum(-1)
    apart = ((back + returned) ** 2).sum(-1)
    visible = apart <= 0.01 * (length + (returned**2).sum(-1)) + 0.5
    changes = sum(
        np.gradient(back[..., k], axis=axis) ** 2 for k in (0, 1) for axis in (0, 1)
    )
    visible &= changes <= 0.01 * length + 0.07
    h, w = length.shape
    x = np.arange(w) + back[..., 0]
    y = np.arange(h)[:, None] + back[..., 1]
    return visible & (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)


def warped(
    image: Shaped[np.ndarray, "_ _ c"],
    flow: Float32[np.ndarray, "h w 2"],
    *,
    sharp: bool = False,
) -> Shaped[np.ndarray, "h w c"]:
    """The image as it is at x + flow(x); edges repeated. sharp: by Keys' cubic."""
    import cv2

    h, w = flow.shape[:2]
    x = np.arange(w, dtype=np.float32) + flow[..., 0]
    y = np.arange(h, dtype=np.float32)[:, None] + flow[..., 1]
    how = cv2.INTER_CUBIC if sharp else cv2.INTER_LINEAR
    return cv2.remap(image, x, y, how, borderMode=cv2.BORDER_REPLICATE)


class Steady:
    """Stylised frames in, steady ones out.

    keep: How much of the last frame stays, 0 to 1.
    """

    def __init__(self, keep: float = KEEP):
        self._keep = keep
        self._last: Image | None = None

    def __call__(self, stylized: Image, motion: Motion | None) -> Image:
        """Float32 [h w 3] in [0, 255] to the same."""
        if motion is None or self._last is None:
            self._last = stylized
            return stylized
        if motion.flow is None:
            blend = self._last.copy()
        else:
            blend = warped(self._last, motion.flow, sharp=True)
        blend -= stylized  # in place: a frame's pixels are more than a cache holds
        blend *= self._keep * motion.mask[..., None]
        blend += stylized
        self._last = blend.clip(0.0, 255.0, out=blend)
        return _as_sharp_as(stylized, self._last)


def _as_sharp_as(model, image):
    """The image plus as much of its fine detail as gives it the model's energy."""
    grey, blurred = _grey(image), _blurred(image)
    detail = grey - _grey(blurred)
    # Gradients are linear: the energy of image + g detail is a + 2 b g + c g^2.
    a, b, c = _energy(grey, grey), _energy(grey, detail), _energy(detail, detail)
    of_model = _grey(model)
    missing = a - _energy(of_model, of_model)
    if missing >= 0 or c <= 0:
        return image
    gain = np.float32(min((np.sqrt(b * b - c * missing) - b) / c, _MOST_SHARPENED))
    blurred *= -gain
    blurred += (1 + gain) * image
    return blurred.clip(0.0, 255.0, out=blurred)


def _blurred(image):
    """By [1 2 1] / 4 along both axes, edges repeated."""
    if has_flow():
        import cv2

        kernel = np.float32([0.25, 0.5, 0.25])
        border = cv2.BORDER_REPLICATE
        return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=border)
    from scipy import ndimage

    for axis in (0, 1):
        image = ndimage.convolve1d(image, [0.25, 0.5, 0.25], axis, mode="nearest")
    return image


def _energy(one, other):
    """Of two greys, the mean product of their gradients, down and along."""
    total = 0.0
    for axis in (0, 1):
        products = np.diff(one, axis=axis) * np.diff(other, axis=axis)
        total += float(products.mean()) if products.size else 0.0
    return total


def _grey(image):
    """The mean of three channels, for which NumPy's own takes ten times as long."""
    return image @ np.full(3, 1 / 3, np.float32)
