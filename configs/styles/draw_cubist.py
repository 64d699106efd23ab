"""Draws cubist.png, the project's own style image: a harlequin with a guitar.

A pixel holds a hue, a tone on that hue's ramp from deep to pale, and the facet that it
belongs to. Shapes are laid back to front over a ground of cut planes. A glaze shifts
tones, swaps hues or slips what lies under it aside, so that planes show where they
cross. At the end every facet gets its own shading and brush direction.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

UNIT = 512  # coordinates are pixels of a 512 x 512 canvas, y down; angles, degrees
SUPERSAMPLING = 3
STEP = 5  # colours are multiples of this: every level would pack 60% larger as PNG
BLUE, RED, OCHRE, CREAM, GREEN, ROSE, VIOLET, BLACK = range(8)
SWAPPED = np.array([VIOLET, OCHRE, RED, ROSE, BLUE, CREAM, GREEN, BLACK])
RAMPS = np.array(  # hue x tone (0 deep .. 3 pale) x RGB
    [
        [(12, 18, 58), (22, 54, 138), (48, 112, 190), (146, 190, 220)],  # blue
        [(104, 14, 22), (198, 36, 24), (232, 84, 40), (246, 156, 108)],  # vermilion
        [(122, 66, 14), (206, 132, 18), (242, 186, 44), (252, 222, 124)],  # ochre
        [(148, 124, 96), (208, 188, 150), (242, 230, 200), (254, 250, 236)],  # cream
        [(4, 52, 48), (8, 104, 84), (54, 154, 112), (154, 206, 164)],  # viridian
        [(110, 26, 62), (196, 72, 104), (232, 136, 150), (248, 202, 198)],  # rose
        [(42, 20, 68), (88, 48, 124), (144, 106, 176), (202, 178, 214)],  # violet
        [(8, 7, 12), (26, 22, 32), (58, 52, 62), (112, 106, 112)],  # black
    ]
)


class Canvas:
    def __init__(self, size, seed):
        self.rng = np.random.default_rng(seed)
        self.scale = size * SUPERSAMPLING / UNIT
        shape = size * SUPERSAMPLING, size * SUPERSAMPLING
        self.hue, self.tone = np.full(shape, BLACK), np.zeros(shape)
        self.facet = np.zeros(shape, int)

    def fill(self, outline, paint, second=None, pattern=None, ink=4.0):
        """Paints (hue, tone) and, where pattern(x, y) holds, the second paint."""
        mask = self._mask(lambda draw, points: draw.polygon(points, fill=1), outline)
        self.facet[mask] = self.rng.integers(1000)
        self.hue[mask], self.tone[mask] = paint
        if pattern:
            y, x = np.nonzero(mask)
            inside = pattern(x / self.scale, y / self.scale)
            self.hue[y[inside], x[inside]], self.tone[y[inside], x[inside]] = second
        self.line([*outline, outline[0]], ink)

    def glaze(self, outline, shift=0, swap=False, slip=(0, 0), ink=2.5):
        """Changes what lies under it: tones (up or down), hues, place. Black stays."""
        mask = self._mask(lambda draw, points: draw.polygon(points, fill=1), outline)
        dx, dy = np.round(np.multiply(slip, self.scale)).astype(int)
        for layer in self.hue, self.tone, self.facet:
            layer[mask] = np.roll(layer, (dy, dx), (0, 1))[mask]
        mask &= self.hue != BLACK
        self.facet[mask] += 37
        tone = self.tone[mask] + shift
        self.tone[mask] = np.where((tone < 0) | (tone > 3), tone - 2 * shift, tone)
        if swap:
            self.hue[mask] = SWAPPED[self.hue[mask]]
        self.line([*outline, outline[0]], ink)

    def line(self, points, width, paint=(BLACK, 0.2)):
        """A brush line that swells and thins on its way."""

        def stroke(draw, points):
            points = np.array(points)
            at = np.append(0, np.cumsum(np.hypot(*np.diff(points, axis=0).T)))
            along = np.arange(0, at[-1], 0.5 * self.scale)
            x, y = (np.interp(along, at, axis) for axis in points.T)
            r = width * self.scale * (0.5 + 0.22 * np.sin(along / wave + phase))
            for box in np.stack([x - r, y - r, x + r, y + r], 1).tolist():
                draw.ellipse(box, fill=1)

        wave, phase = self.rng.uniform(18, 50) * self.scale, self.rng.uniform(0, 6)
        if width:
            mask = self._mask(stroke, points)
            self.hue[mask], self.tone[mask] = paint

    def picture(self):
        """The painting as RGB bytes [size size 3]."""
        side = len(self.hue)
        y, x = np.mgrid[:side, :side] / self.scale
        # An unsteady hand: every edge wavers by a pixel or two.
        row, column = (
            (at + 3 * self._noise(x / 34, y / 34)) * self.scale for at in (y, x)
        )
        at = row.astype(int).clip(0, side - 1), column.astype(int).clip(0, side - 1)
        hue, tone, facet = self.hue[at], self.tone[at], self.facet[at] % 997
        turn, slope, centre = self.rng.uniform(-1, 1, (3, 997))[:, facet]
        c, s = np.cos(np.pi * turn), np.sin(np.pi * turn)
        u, v = x * c + y * s, y * c - x * s
        strokes, bristles = self._noise(u / 26, v / 3.2), self._noise(u / 9, v / 1.1)
        shade = 0.6 * slope * np.sin(u / 55 + 2 * centre)
        tone = tone + (hue != BLACK) * (shade + 0.8 * strokes + 0.3 * bristles)
        low = tone.clip(0, 2.99).astype(int)
        part = (tone.clip(0, 3) - low)[..., None]
        colour = RAMPS[hue, low] * (1 - part) + RAMPS[hue, low + 1] * part
        colour += (14 * bristles + 8 * strokes)[..., None]
        n = side // SUPERSAMPLING
        colour = colour.reshape(n, SUPERSAMPLING, n, SUPERSAMPLING, 3).mean((1, 3))
        return (np.round(colour.clip(0, 255) / STEP) * STEP).astype(np.uint8)

    def _mask(self, paint, points):
        image = Image.new("1", self.hue.shape)
        points = [(x * self.scale, y * self.scale) for x, y in points]
        paint(ImageDraw.Draw(image), points)
        return np.array(image)

    def _noise(self, u, v):
        """Smooth noise in [-0.5, 0.5]; one random value to a unit of u and of v."""
        grid = self.rng.uniform(-0.5, 0.5, (256, 256))
        i, j = np.floor(u).astype(int), np.floor(v).astype(int)
        a, b = ((t * t * (3 - 2 * t)) for t in (u - i, v - j))
        i, j, k, m = i % 256, j % 256, (i + 1) % 256, (j + 1) % 256
        left, right = grid[i, j] * (1 - b) + grid[i, m] * b, grid[k, j] * (1 - b)
        return left * (1 - a) + (right + grid[k, m] * b) * a


def at(text):
    """Points from "x,y x,y ..." as in SVG."""
    return [tuple(float(n) for n in pair.split(",")) for pair in text.split()]


def curve(text, closed=True):
    """A Catmull-Rom curve through the points."""
    p = at(text)
    p = np.array([p[-1], *p, *p[:2]] if closed else [p[0], *p, p[-1]])
    t = np.linspace(0, 1, 16, endpoint=False)[:, None]
    points = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        cubic = (3 * b - a - 3 * c + d) * t**3 + (2 * a - 5 * b + 4 * c - d) * t**2
        points += (0.5 * (cubic + (c - a) * t + 2 * b)).tolist()
    return points


def ellipse(cx, cy, rx, ry, turn=0, start=0, stop=360):
    t, turn = np.radians(np.linspace(start, stop, 90)), np.radians(turn)
    z = (rx * np.cos(t) + 1j * ry * np.sin(t)) * np.exp(1j * turn) + cx + 1j * cy
    return list(zip(z.real.tolist(), z.imag.tolist(), strict=True))


def stripes(period, turn, share=0.5):
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return lambda x, y: (x * c + y * s) / period % 1 < share


def dots(period):
    def pattern(x, y):
        across = x / period + np.floor(y / period) / 2
        return np.hypot(across % 1 - 0.5, y / period % 1 - 0.5) < 0.32

    return pattern


def diamonds(width, height):
    def pattern(x, y):
        u, v = x / width, y / height
        return (np.floor(u + v) + np.floor(u - v)) % 2 == 0

    return pattern


def fan(cx, cy, count):
    return lambda x, y: np.arctan2(y - cy, x - cx) / (2 * np.pi) * count % 1 < 0.5


def cut(rng, polygon, largest):
    """Cuts a convex polygon by slanted lines until no part exceeds `largest` px^2."""
    p = np.array(polygon)
    q = np.roll(p, -1, axis=0)
    area = abs(np.sum(p[:, 0] * q[:, 1] - q[:, 0] * p[:, 1])) / 2
    if area < largest * rng.uniform(0.35, 1):
        return [polygon]
    # Across the longest side, give or take 35 degrees, so that parts stay broad.
    side = (q - p)[np.argmax(np.hypot(*(q - p).T))]
    turn = np.arctan2(side[1], side[0]) + rng.uniform(-0.6, 0.6)
    height = (p - p.mean(0) - rng.uniform(-12, 12, 2)) @ [np.cos(turn), np.sin(turn)]
    parts = [], []
    for a, b, h, k in zip(p, q, height, np.roll(height, -1), strict=True):
        parts[int(h > 0)].append(tuple(a))
        if (h > 0) != (k > 0):
            for part in parts:
                part.append(tuple(a + (b - a) * h / (h - k)))
    return [small for part in parts for small in cut(rng, part, largest)]


def ground(c):
    """Planes, cool at the top left and warm at the bottom right; some patterned."""
    rng, hue = c.rng, None
    for part in cut(rng, at("-9,-9 521,-9 521,521 -9,521"), 28_000):
        cool = rng.random() < 0.8 - 0.55 * np.mean(part) / UNIT
        hues = (BLUE, VIOLET, GREEN, CREAM) if cool else (RED, OCHRE, ROSE, CREAM)
        hue = rng.choice([h for h in hues if h != hue])
        tone, turn = rng.integers(4), rng.uniform(0, 180)
        patterns = [None] * 5 + [stripes(13, turn), dots(11), stripes(6, turn, 0.3)]
        pattern = patterns[rng.integers(len(patterns))]
        c.fill(part, (hue, tone), (hue, (tone + 2) % 4), pattern, rng.choice([0, 3, 5]))


def background(c):
    # A sun with a fan of rays; shafts of light.
    c.fill(ellipse(424, 84, 96, 96), (OCHRE, 3), (RED, 1), fan(424, 84, 18))
    rings = (64, (RED, 2)), (42, (OCHRE, 2)), (18, (CREAM, 3))
    for radius, paint in rings:
        c.fill(ellipse(424, 84, radius, radius), paint, ink=5)
    c.glaze(at("512,0 424,84 512,210"), -1, swap=True, ink=3)
    c.glaze(at("300,0 372,0 500,512 380,512"), 1)
    c.glaze(at("0,60 0,150 420,250 512,200"), -1, swap=True)
    c.glaze(at("60,0 120,0 40,400 0,400"), 1)
    c.glaze(ellipse(120, 150, 110, 110), 1, slip=(6, -4), ink=4)
    # A table and a bottle.
    grain = stripes(13, 82, 0.35)
    c.fill(at("-9,418 521,372 521,521 -9,521"), (OCHRE, 1), (OCHRE, 0), grain, ink=5)
    c.fill(at("300,392 521,372 521,521 380,521"), (GREEN, 1))
    bottle = "62,196 84,196 86,262 112,300 114,448 36,452 34,304 60,262"
    c.fill(curve(bottle), (GREEN, 1), ink=5)
    c.glaze(at("74,180 130,180 130,460 74,460"), 2, slip=(3, 7))
    label = at("38,340 112,332 112,396 38,404")
    c.fill(label, (CREAM, 2), (RED, 1), stripes(10, 86, 0.4))
    c.fill(ellipse(74, 366, 18, 22), (OCHRE, 2), ink=3)


def harlequin(c):
    suit = at("214,196 300,214 392,330 420,521 96,521 112,320 140,230")
    c.fill(suit, (BLUE, 1), (RED, 1), diamonds(68, 104), ink=6)
    c.glaze(at("214,196 140,230 112,320 96,521 230,521"), 1, swap=True, ink=5)
    c.glaze(at("262,220 420,400 420,512 330,512"), -1)
    sleeve = at("300,214 352,238 398,306 372,346 318,318")
    c.fill(sleeve, (RED, 1), (OCHRE, 2), stripes(15, 35), ink=5)
    c.fill(ellipse(246, 216, 84, 34, 10), (CREAM, 3), (BLUE, 0), fan(246, 200, 30), 5)
    # Full face on the left, profile on the right, under a two-horned hat.
    c.fill(ellipse(244, 130, 64, 88, 6), (ROSE, 3), ink=6)
    profile = "250,52 240,92 214,142 236,154 222,168 232,176 224,188 244,216"
    profile = curve(profile, closed=False) + ellipse(244, 130, 64, 88, 6, 90, -90)
    c.fill(profile, (BLUE, 2), ink=5)
    c.glaze(at("262,60 320,60 320,220 282,220"), -1, swap=True)
    c.glaze(at("160,150 232,170 246,226 180,220"), -1, swap=True)
    for x, y, turn, iris in (210, 112, 8, GREEN), (272, 108, -6, OCHRE):
        lids = ellipse(x, y + 10, 26, 22, turn, 210, 330)
        c.fill(lids + ellipse(x, y - 10, 26, 22, turn, 30, 150), (CREAM, 3))
        c.fill(ellipse(x, y, 8, 9), (iris, 1), ink=3)
        c.line(ellipse(x, y + 6, 30, 30, turn, 225, 318), 4)
    c.fill(curve("206,178 224,170 240,174 258,184 232,194"), (RED, 1), ink=3)
    hat = "132,86 170,34 246,8 318,30 348,92 296,66 240,62 180,70"
    c.fill(curve(hat), (VIOLET, 1), ink=6)
    c.glaze(at("246,0 360,0 360,100 252,70"), 1, swap=True)
    c.line(curve("148,76 190,52 244,44 300,50 336,78", closed=False), 7, (OCHRE, 2.4))
    for x, y in at("134,88 346,94 246,10"):
        c.fill(ellipse(x, y, 13, 13), (RED, 2))


def guitar(c):
    def place(points):
        """From the guitar's axes (u along the strings from the body's middle)."""
        z = (np.array(points) @ [1, 1j]) * np.exp(-1j * np.radians(32)) + 212 + 402j
        return list(zip(z.real.tolist(), z.imag.tolist(), strict=True))

    half = "-104,0 -92,54 -40,76 14,48 52,56 88,40 98,0 "
    body = curve(half + "88,-40 52,-56 14,-48 -40,-76 -92,-54")
    c.fill(place(np.add(body, (-8, 12))), (BLACK, 0))
    c.fill(place(body), (OCHRE, 2), ink=6)
    c.glaze(place(at("-120,0 110,0 110,90 -120,90")), -1, swap=True, slip=(5, 4), ink=3)
    c.glaze(place(at("-60,-90 0,-90 50,90 -30,90")), 1, swap=True, ink=3)
    rosette = fan(*place([(24, 0)])[0], 16)
    c.fill(place(ellipse(24, 0, 30, 30)), (CREAM, 3), (RED, 1), rosette)
    c.fill(place(ellipse(24, 0, 20, 20)), (BLACK, 0))
    c.fill(place(at("-66,-26 -54,-26 -54,26 -66,26")), (BLACK, 1), ink=3)
    c.fill(place(at("60,-12 262,-8 262,8 60,12")), (RED, 0))
    for u in range(90, 262, 14):
        c.line(place([(u, -11), (u, 11)]), 2, (OCHRE, 2.6))
    c.fill(place(at("258,-15 318,-20 324,14 258,13")), (OCHRE, 1), ink=5)
    for u, v in at("272,-24 288,-24 304,-24 272,20 288,20 304,20"):
        c.fill(place(ellipse(u, v, 5, 7)), (CREAM, 3), ink=3)
    for v in -7, -2.5, 2.5, 7:
        c.line(place([(-60, v), (300, v)]), 1.3, (CREAM, 3))
    for u, v in at("150,-2 163,1 176,-1 189,3"):
        c.fill(place(ellipse(u, v, 6, 19, 14)), (ROSE, 3), ink=3.5)
    for k in range(4):
        finger = ellipse(4 * k - 26, 14 * k - 34, 30, 7, 10 * k + 8)
        c.fill(place(finger), (ROSE, 3), ink=3.5)


def foreground(c):
    c.fill(ellipse(436, 452, 38, 36), (RED, 2), ink=5)
    c.glaze(ellipse(452, 452, 34, 46), -1)
    c.fill(curve("486,400 498,436 512,466 484,492 456,472 470,436"), (OCHRE, 3), ink=5)
    c.glaze(at("486,396 520,396 520,500 484,500"), -1, swap=True)
    c.fill(ellipse(376, 486, 28, 26), (VIOLET, 2), ink=5)
    c.glaze(ellipse(388, 486, 24, 34), -1)
    staves = stripes(9, 82, 0.16)
    c.fill(at("10,446 128,430 150,500 24,520"), (CREAM, 3), (BLACK, 1), staves)
    for x, y in at("40,470 66,458 88,484 114,462 60,498"):
        c.fill(ellipse(x, y, 7, 5, -20), (BLACK, 0), ink=2)
        c.line([(x + 6, y), (x + 9, y - 24)], 3)
    # Shards, as of broken glass, over everything.
    c.glaze(at("0,270 150,180 180,420"), 1, slip=(-8, 5))
    c.glaze(at("300,60 512,150 330,250"), -1, slip=(7, 7))
    c.glaze(at("330,512 300,330 470,300"), 1, slip=(9, -5))


def draw(size=512, seed=0):
    """The composition as RGB bytes [size size 3]; the seed moves planes and brushes."""
    canvas = Canvas(size, seed)
    for paint in ground, background, harlequin, guitar, foreground:
        paint(canvas)
    return canvas.picture()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.error = lambda message: parser.exit(2, f"draw_cubist: error: {message}\n")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=512, help="side in pixels")
    default = Path(__file__).with_name("cubist.png")
    parser.add_argument("-o", "--output", type=Path, default=default)
    args = parser.parse_args()
    if args.seed < 0:
        parser.error(f"--seed={args.seed} is negative; use 0 or more.")
    if not 64 <= args.size <= 1024:
        parser.error(f"--size={args.size} is outside 64 to 1024; give one within.")
    if args.output.suffix.lower() != ".png":
        parser.error(f"--output={args.output} is not a .png name; end it in .png.")
    image = Image.fromarray(draw(args.size, args.seed))
    unfinished = args.output.with_name(f".{args.output.name}.{os.getpid()}")
    try:
        image.save(unfinished, format="PNG", optimize=True)
        os.replace(unfinished, args.output)
    except OSError as error:
        parser.error(f"--output={args.output} cannot be written: {error.strerror}.")
    finally:
        unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
