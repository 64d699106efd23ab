"""How steady a video is, and how sharp: each without the other says little."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from jaxperceptual.core.types import Image
from jaxperceptual.video.steady import warped


def warping_error(
    frames: Sequence[Image],
    flows: Sequence[Float32[np.ndarray, "h w 2"]],
    masks: Sequence[np.ndarray],
) -> float:
    """Mean squared change of what moves with the flow, of pixels in [0, 1].

    flows, masks: of each frame but the first, where its pixels were in the one before,
        and, bool [h w], whether they were visible.

    As Lai et al., "Learning Blind Video Temporal Consistency", 2018, section 4.
    """
    errors = []
    for last, frame, flow, mask in zip(frames, frames[1:], flows, masks, strict=False):
        apart = (warped(last, flow) - frame) / 255
        errors.append(float((apart**2)[mask].mean()))
    return float(np.mean(errors))


def edge_energy(frames: Sequence[Image]) -> float:
    """Mean squared gradient of grey, which blur lowers, that looks steady too."""
    return float(
        np.mean(
            [
                sum((np.diff(frame.mean(-1), axis=k) ** 2).mean() for k in (0, 1))
                for frame in frames
            ]
        )
    )


def other_flow(
    frame: UInt8[np.ndarray, "h w 3"], last: UInt8[np.ndarray, "h w 3"]
) -> Float32[np.ndarray, "h w 2"]:
    """Where each pixel of the frame was in the last, px away, by Farneback's method.

    It is not what `steady` goes by, and so can judge it.
    """
    import cv2

    now, before = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (frame, last))
    return cv2.calcOpticalFlowFarneback(now, before, None, 0.5, 4, 15, 3, 7, 1.5, 0)
