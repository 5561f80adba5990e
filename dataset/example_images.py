"""Draws the pictures of the `_example` data set: three products, each with three kinds of defect."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, gaussian_filter, uniform_filter1d

SIZE = 256  # pixels, height and width
VISIBLE = 12  # grey values, of 255, by which a defect must change a pixel to be marked
KINDS: Mapping[str, tuple[str, ...]] = {
    "woven_fabric": ("cut", "pulled_thread", "stain"),
    "brushed_metal": ("dent", "scratch", "smeared_print"),
    "moulded_part": ("crack", "flash", "missing_hole"),
}
GLYPHS = {  # 5 x 7 dots: one number per row, its highest bit on the left
    "I": (14, 4, 4, 4, 4, 4, 14),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "-": (0, 0, 0, 31, 0, 0, 0),
    "A": (14, 17, 17, 31, 17, 17, 17),
    "D": (30, 17, 17, 17, 17, 17, 30),
}
WEFT_AND_WARP = np.array([[0.74, 0.72, 0.66], [0.22, 0.31, 0.50]])  # colours, as all that follow
OIL = np.array([0.7, 0.9, 1.2])  # shares of light lost; above 1 the darkness of a stain takes care
WHITE = np.ones(3)
STEEL = np.array([1.0, 1.01, 1.03])
INK = np.array([0.10, 0.12, 0.22], dtype=np.float32)
PLASTIC = np.array([0.86, 0.46, 0.16])
BELT = np.array([0.95, 1.0, 1.05])
BITS = [np.unpackbits(np.array(GLYPHS[letter], dtype=np.uint8)[:, None], axis=1) for letter in "IM-IAD"]
DOTS: NDArray[np.uint8] = np.pad(
    np.hstack([bits[:, 2:] for bits in BITS]), 1
)  # a blank column before each letter, a blank frame

Rng = np.random.Generator
Colour = NDArray[np.float64]  # (3,)
Plane = NDArray[np.float64]  # (SIZE, SIZE)
Picture = NDArray[np.float32]  # (SIZE, SIZE, 3), black is 0 and white is 1


def render(category: str, kind: str, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Photograph one product and mark its defect.

    With the kind "good" the same seed gives the same photograph without the defect. The mask is where the
    two differ by at least `VISIBLE`, and the gaps of a few pixels in between.

    Args:
        category: a key of `KINDS`.
        kind: "good" or one of the category's `KINDS`.
        seed: decides place, colour, light, noise and the form of the defect.

    Returns:
        The image (SIZE, SIZE, 3) and the mask (SIZE, SIZE), which is empty for "good".
    """
    image = _photograph(category, kind, seed)
    if kind == "good":
        return image, np.zeros((SIZE, SIZE), dtype=np.bool_)
    change = np.abs(image.astype(np.int16) - _photograph(category, "good", seed)).max(axis=2)
    visible = change >= VISIBLE
    return image, visible | binary_closing(visible, np.ones((5, 5)))


def _photograph(category: str, kind: str, seed: int) -> NDArray[np.uint8]:
    """Paint the product, then add uneven light, defocus and sensor noise."""
    picture = PAINTERS[category](np.random.default_rng(seed), kind, np.random.default_rng([seed, 1]))
    rng = np.random.default_rng([seed, 2])
    down, _ = _frame((0, 0), rng.uniform(0, 2 * np.pi))
    light = rng.uniform(0.92, 1.08) * (1 + rng.uniform(0, 0.1) * down / SIZE)
    picture = picture * _tinted(light, rng.uniform(0.98, 1.02, 3))
    blurred: Picture = gaussian_filter(picture, rng.uniform(0.4, 0.55), axes=(0, 1))
    noise = _tinted(rng.normal(0, 0.01, (SIZE, SIZE)), WHITE)
    picture = (blurred + noise) * 255 + 0.5
    return np.clip(picture, 0, 255).astype(np.uint8)


def _woven_fabric(rng: Rng, kind: str, flaw: Rng) -> Picture:
    """Paint a twill of blue warp and pale weft; a thread is pulled, or the cloth stained or cut."""
    y, x = _frame(rng.uniform(-20, 20, 2), rng.normal(0, 0.02))
    pitch = rng.uniform(7.8, 8.2)  # pixels from thread to thread
    across, along = (x + 0.8 * _clouds(rng, 5)) / pitch, (y + 0.8 * _clouds(rng, 5)) / pitch
    spot = flaw.uniform(-95, 95, 2)
    down, aside = _frame(spot, flaw.uniform(0, np.pi) if kind == "cut" else 0.0)
    absent = np.zeros((SIZE, SIZE), dtype=np.bool_)
    if kind == "pulled_thread":
        reach = flaw.uniform(10, 40)
        across = across + 0.4 * np.tanh(aside / 4) * np.exp(-((aside / 9) ** 2) - (down / reach) ** 4)
        absent = (np.abs(aside) < 0.6 * pitch) & (np.abs(down) < reach)
    picture = _weave(rng, across, along, absent)
    if kind == "stain":
        edge = np.hypot(down, aside) / flaw.uniform(10, 26) + 0.35 * _clouds(flaw, 9) - 1
        dark = flaw.uniform(0.3, 0.6) * _inside(4 * edge)
        picture = picture * (1 - _tinted(dark, OIL))
    if kind == "cut":
        gape = flaw.uniform(1.2, 3) * (1 - (down / flaw.uniform(8, 26)) ** 2)
        dark = flaw.uniform(0.6, 0.9) * _inside(np.abs(aside) - gape)
        picture = picture * (1 - _tinted(dark, WHITE))
    return picture


def _weave(rng: Rng, across: Plane, along: Plane, absent: NDArray[np.bool_]) -> Picture:
    """Lay threads two over, two under, each row one thread further; coordinates count threads."""
    warp, weft = np.floor(across), np.floor(along)
    warp_on_top = ((warp + weft) % 4 < 2) & ~absent
    colours = WEFT_AND_WARP * rng.normal(1, 0.02, (2, 3))
    tones = rng.normal(1, 0.04, (2, 64))  # no two threads are dyed alike
    warp_shade = _thread(across - warp, (warp + along) % 4 / 2, along) * tones[0, warp.astype(int) % 64]
    weft_shade = _thread(along - weft, (weft + across) % 4 / 2 - 1, across) * tones[1, weft.astype(int) % 64]
    weft_picture, warp_picture = _tinted(weft_shade, colours[0]), _tinted(warp_shade, colours[1])
    return np.where(warp_on_top[..., None], warp_picture, weft_picture)


def _thread(width: Plane, rise: Plane, length: Plane) -> Plane:
    """Shade a round, twisted thread; width and rise run from 0 to 1 from edge to edge, from dip to dip."""
    roundness = np.sqrt(1 - (2 * width - 1) ** 2)
    bulge = np.sin(np.pi * np.clip(rise, 0, 1))
    twist = np.sin(2 * np.pi * (2 * width + 3 * length))
    return 0.35 + 0.4 * roundness + 0.25 * bulge + 0.05 * twist


def _brushed_metal(rng: Rng, kind: str, flaw: Rng) -> Picture:
    """Paint a printed plate of brushed steel; it is dented or scratched, or its print smeared."""
    y, x = _frame(rng.uniform(-10, 10, 2), rng.normal(0, 0.02))
    grain = uniform_filter1d(uniform_filter1d(rng.normal(size=(SIZE, SIZE)), 61), 31)
    gloss = np.exp(-(((x - rng.uniform(-80, 80)) / 90) ** 2))
    tone = 0.52 + 0.3 * grain + 0.14 * gloss
    ink = _print(y, x)
    down, aside = _frame(flaw.uniform(-95, 95, 2), flaw.uniform(0, 2 * np.pi))
    if kind == "dent":
        radius = flaw.uniform(5, 14)
        slope = down / radius * np.exp(-(down**2 + (aside / flaw.uniform(0.8, 1.8)) ** 2) / radius**2)
        tone = tone * (1 + flaw.uniform(0.3, 0.6) * slope)
    if kind == "scratch":
        bend = flaw.uniform(-0.004, 0.004) * down**2
        line = _inside(np.abs(aside + bend) - flaw.uniform(0.2, 1)) * _inside(
            np.abs(down) - flaw.uniform(10, 50)
        )
        tone, ink = tone + flaw.uniform(0.1, 0.35) * line, ink * (1 - line)
    if kind == "smeared_print":
        ink = _smear(ink, y, x, flaw)
    plate = _tinted(tone, STEEL * rng.normal(1, 0.01, 3))
    return _covered(plate, INK, ink * (0.85 - 0.8 * grain))


def _print(y: Plane, x: Plane) -> Plane:
    """Return the share of ink: a ring around an arrow, over the dots that spell the project's name."""
    pitch = 4.8  # pixels from dot to dot
    row, column = (y - 40) / pitch + DOTS.shape[0] / 2, x / pitch + DOTS.shape[1] / 2 + 0.5
    cell = np.clip(row, 0, DOTS.shape[0] - 1).astype(int), np.clip(column, 0, DOTS.shape[1] - 1).astype(int)
    text: Plane = DOTS[cell] * _inside(pitch * np.hypot(row % 1 - 0.5, column % 1 - 0.5) - 2)
    ring = _inside(np.abs(np.hypot(y + 30, x) - 36) - 3)
    head = _inside(np.maximum(0.9 * np.abs(x) - 0.45 * (y + 54), y + 18))
    stem = _inside(np.maximum(np.abs(x) - 6, np.abs(y + 14) - 10))
    return np.maximum(np.maximum(text, ring), np.maximum(head, stem))


def _smear(ink: Plane, y: Plane, x: Plane, flaw: Rng) -> Plane:
    """Drag the wet ink of some letters aside."""
    spot, radius = flaw.uniform((25, -65), (50, 65)), flaw.uniform(14, 30)
    angle, length, strength = flaw.uniform(0, 2 * np.pi), flaw.uniform(6, 16), flaw.uniform(0.5, 0.9)
    near = np.exp(-((np.hypot(y - spot[0], x - spot[1]) / radius) ** 4))
    for step in np.linspace(0.15, 1, 6):
        dragged = _print(y - step * length * np.sin(angle), x - step * length * np.cos(angle))
        ink = np.maximum(ink, strength * (1 - 0.6 * step) * near * dragged)
    return ink


def _moulded_part(rng: Rng, kind: str, flaw: Rng) -> Picture:
    """Paint a plastic flange with six holes; a crack leaves one, its rim has flash, or one is closed."""
    y, x = _frame(rng.uniform(-10, 10, 2), rng.uniform(-0.5, 0.5))
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    turn = _wrap(angle, np.pi / 3)  # from the middle of the nearest hole
    out, side = radius * np.cos(turn) - 58, radius * np.sin(turn)
    hole, rim = np.hypot(out, side) - 12, radius - 98
    chosen = _wrap(angle - flaw.integers(6) * np.pi / 3, 2 * np.pi)
    crack = np.zeros((SIZE, SIZE))
    if kind == "crack":
        crack = _crack(radius, chosen, flaw)
    if kind == "flash":
        swell = np.clip(1 - ((chosen - flaw.uniform(-0.5, 0.5)) / flaw.uniform(0.1, 0.4)) ** 2, 0, 1)
        rim = rim - flaw.uniform(4, 10) * swell * (1 + 0.25 * _clouds(flaw, 24))
    if kind == "missing_hole":
        tilt = flaw.uniform(0, 2 * np.pi)
        chord = np.cos(tilt) * out + np.sin(tilt) * side + flaw.uniform(-9, 8)
        hole = np.where(np.abs(chosen) < np.pi / 6, np.maximum(hole, chord), hole)
    rib = np.maximum(
        np.abs(radius * np.sin(_wrap(angle - np.pi / 6, np.pi / 3))) - 3, np.abs(radius - 60) - 26
    )
    relief = 6 * _inside(np.abs(radius - 90) - 4, 3) + 7 * _inside(radius - 30, 3) + 4 * _inside(rib, 2)
    plastic = _moulded_surface(rng, relief + 3 * _inside(-hole, 2)) * (1 - _tinted(crack, WHITE))
    return _on_belt(rng, plastic, _inside(rim) * _inside(-hole) * _inside(14 - radius))


def _crack(radius: Plane, turn: Plane, flaw: Rng) -> Plane:
    """Return the share of light lost to a crack that winds outwards from the hole at turn 0."""
    knots = np.arange(70, 101, 3)
    path = np.interp(radius, knots, np.cumsum(flaw.normal(0, 1.6, len(knots))))
    end = flaw.uniform(80, 97)
    width = flaw.uniform(0.6, 1.4) * np.clip((end - radius) / 12, 0, 1)
    line = _inside(np.abs(radius * turn - path) - width)
    return flaw.uniform(0.25, 0.6) * line * ((radius > 68) & (radius < end))


def _moulded_surface(rng: Rng, height: Plane) -> Picture:
    """Light a grained relief of plastic, its heights in pixels, from the upper left."""
    slope_y, slope_x = np.gradient(height + 0.25 * gaussian_filter(rng.normal(size=height.shape), 0.8))
    lamp = rng.normal(-2.4, 0.1)
    away = slope_y * np.sin(lamp) + slope_x * np.cos(lamp)
    shade = 0.8 + 0.28 * away / np.sqrt(1 + slope_y**2 + slope_x**2) + 0.02 * _clouds(rng, 6)
    shine = 0.25 * np.clip(away - 0.4, 0, 1)
    return _tinted(shade, PLASTIC * rng.normal(1, 0.025, 3)) + _tinted(shine, WHITE)


def _on_belt(rng: Rng, surface: Picture, body: Plane) -> Picture:
    """Lay a body on a ribbed conveyor belt, where it casts a soft shadow."""
    ribs = np.sin(np.arange(SIZE) * 2 * np.pi / 5 + rng.uniform(0, 2 * np.pi))
    belt = 0.2 + 0.012 * (ribs + rng.normal(size=body.shape) + _clouds(rng, 8))
    shadow = gaussian_filter(np.roll(body, (5, 5), axis=(0, 1)), 4)
    return _covered(_tinted(belt * (1 - 0.6 * shadow), BELT), surface, body)


def _tinted(shade: Plane, colour: Colour) -> Picture:
    """Return a plane in a colour."""
    return np.multiply(shade[..., None], colour, dtype=np.float32)


def _covered(below: Picture, above: Picture, share: Plane) -> Picture:
    """Lay a picture or a colour over another where the share is 1."""
    return below + (above - below) * _tinted(share, WHITE)


def _frame(centre: Sequence[float] | NDArray[np.float64], angle: float) -> tuple[Plane, Plane]:
    """Return each pixel's place, (down, aside), in a frame turned about a point given from the middle."""
    y, x = np.ogrid[:SIZE, :SIZE]
    y, x = y - (SIZE - 1) / 2 - centre[0], x - (SIZE - 1) / 2 - centre[1]
    return np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x


def _clouds(rng: Rng, cells: int) -> Plane:
    """Return a smooth random field of about unit variance that has so many cells along a side."""
    place = np.linspace(-0.5, cells - 0.5, SIZE)[:, None] - np.arange(-1, cells + 1)
    weight = np.exp(-1.5 * place**2)
    weight /= np.sqrt((weight**2).sum(axis=1, keepdims=True))
    rows = np.einsum(
        "yi,ij->yj", weight, rng.normal(size=(cells + 2, cells + 2))
    )  # "@" differs between machines
    return np.asarray(np.einsum("yj,xj->yx", rows, weight))


def _wrap(angle: Plane, period: float) -> Plane:
    """Return the angle of the same direction that lies within half a period of 0."""
    return (angle + period / 2) % period - period / 2


def _inside(distance: Plane, softness: float = 0.5) -> Plane:
    """Return 1 where a signed distance is negative, 0 where positive, with a ramp of twice the softness."""
    return np.clip(0.5 - distance / (2 * softness), 0, 1)


PAINTERS: Mapping[str, Callable[[Rng, str, Rng], Picture]] = {
    "woven_fabric": _woven_fabric,
    "brushed_metal": _brushed_metal,
    "moulded_part": _moulded_part,
}
