"""Blending along flow: what stays, what begins anew, how sharp it is."""

import cv2
import numpy as np
import pytest

from jaxperceptual.video import measures, steady
from jaxperceptual.video.steady import Motion, MotionFinder, Steady

H, W = 96, 128


def texture(seed=0, h=3 * H, w=3 * W):
    """Blobs of all sizes, in [0, 255]."""
    rng = np.random.default_rng(seed)
    found = np.zeros((h, w, 3), np.float32)
    for scale in (2, 4, 8, 16):
        small = rng.uniform(-1, 1, (h // scale, w // scale, 3)).astype(np.float32)
        found += scale * cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC)
    found -= found.min()
    return 255 * found / found.max()


def window(photo, x, y):
    return np.rint(photo[y : y + H, x : x + W]).astype(np.uint8)


def test_motion_of_a_moving_window():
    photo = texture()
    find = MotionFinder()
    assert find(window(photo, 50, 60)) is None
    motion = find(window(photo, 53, 58))  # what is seen was 3 to the right, 2 above
    inner = (slice(16, -16), slice(16, -16))
    np.testing.assert_allclose(
        motion.flow[inner], np.zeros((64, 96, 2)) + [3, -2], atol=0.3
    )
    assert motion.mask[inner].mean() > 0.8
    assert motion.mask[:, -1].max() < 0.5  # was outside
    cut = find(window(texture(seed=1), 0, 0))
    assert cut.mask.mean() < 0.05


def test_grain_of_a_frame_larger_than_the_flow_is_no_motion():
    photo, rng = texture(h=960, w=1280), np.random.default_rng(0)

    def grainy(x, y, of=photo):
        seen = of[y : y + 480, x : x + 640]
        return (seen + rng.normal(0, 6, seen.shape)).clip(0, 255).astype(np.uint8)

    find = MotionFinder()
    find(grainy(50, 60))
    motion = find(grainy(58, 54))
    assert motion.flow.shape == (480, 640, 2) and motion.mask.shape == (480, 640)
    inner = (slice(48, -48), slice(48, -48))
    np.testing.assert_allclose(
        motion.flow[inner], np.zeros((384, 544, 2)) + [8, -6], atol=1.0
    )
    assert motion.mask[inner].mean() > 0.8
    cut = find(grainy(0, 0, texture(seed=1, h=960, w=1280)))
    assert cut.mask.mean() < 0.05


def test_noise_is_averaged_where_it_moves_along_and_dropped_at_a_cut():
    photo, other = texture(), texture(seed=1)
    rng = np.random.default_rng(0)
    seen = [window(photo, 40 + 3 * i, 50 + i) for i in range(12)]
    seen += [window(other, 40 + 3 * i, 50 + i) for i in range(2)]
    alone = [
        (frame + rng.normal(0, 12, frame.shape)).clip(0, 255).astype(np.float32)
        for frame in seen
    ]
    find, smooth = MotionFinder(), Steady()
    kept = [smooth(x, find(frame)) for frame, x in zip(seen, alone, strict=True)]
    flow = np.zeros((H, W, 2), np.float32) + np.float32([3, 1])
    inside = np.zeros((H, W), bool)
    inside[20:-20, 20:-20] = True

    def error(frames):
        n = len(frames) - 1
        return measures.warping_error(frames, n * [flow], n * [inside])

    assert error(kept[6:12]) < 0.3 * error(alone[6:12])
    np.testing.assert_array_equal(kept[0], alone[0])
    assert np.abs(kept[12] - alone[12]).mean() < 1.0  # nothing of the first scene
    energies = [measures.edge_energy([x]) for x in (kept[11], alone[11])]
    assert energies[0] > 0.9 * energies[1]


def test_what_is_sharpened_has_the_energy_of_its_model():
    model = 60 + texture(h=64, w=80) / 2  # nothing to clip
    blurred = cv2.GaussianBlur(model, (0, 0), 0.6)
    sharpened = steady._as_sharp_as(model, blurred)
    energies = [measures.edge_energy([x]) for x in (blurred, sharpened, model)]
    assert energies[0] < 0.9 * energies[2]
    assert energies[1] == pytest.approx(energies[2], rel=0.02)
    np.testing.assert_array_equal(steady._as_sharp_as(blurred, model), model)


def test_without_opencv_what_stands_still_is_kept(monkeypatch):
    monkeypatch.setattr(steady, "has_flow", lambda: False)
    find = MotionFinder()
    photo = texture()
    still = window(photo, 0, 0)
    assert find(still) is None
    motion = find(still)
    assert motion.flow is None and motion.mask.min() == 1
    assert find(window(texture(seed=1), 0, 0)).mask.mean() < 0.1
    smooth = Steady()
    smooth(np.full((H, W, 3), 100, np.float32), None)
    out = smooth(
        np.full((H, W, 3), 200, np.float32), Motion(None, np.ones((H, W), np.float32))
    )
    np.testing.assert_allclose(out, 200 - 100 * steady.KEEP, atol=1e-3)


def test_measures_by_hand():
    black, white = (np.full((4, 4, 3), v, np.float32) for v in (0, 255))
    none = np.zeros((4, 4, 2), np.float32)
    half = np.zeros((4, 4), bool)
    half[:2] = True
    stripe = black.copy()
    stripe[0] = 51
    assert measures.warping_error([black, white], [none], [half]) == 1
    found = measures.warping_error([black, stripe, stripe], 2 * [none], 2 * [half])
    assert found == pytest.approx(0.5 * 0.5 * 0.2**2)
    # One of three steps down a column is of 51; none along a row.
    assert measures.edge_energy([stripe]) == pytest.approx(51**2 / 3)
