"""Images drawn from nothing: noise, gratings, tiles, leaves, strokes and mixtures of them."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Field = NDArray[np.floating]  # (H, W) grey values in [0, 1]
Picture = NDArray[np.floating]  # (H, W, 3) colours in [0, 1]


def generate_image(size: int, rng: np.random.Generator) -> Picture:
    """Return a (size, size, 3) image in [0, 1]: one to three coloured layers under a common camera."""
    image = _layer(size, rng)
    for _ in range(rng.integers(0, 3)):
        mask = _mask(size, rng)[..., None]
        image = image * (1 - mask) + _layer(size, rng) * mask
    return _photograph(image, rng)


def fractal_noise(size: int, rng: np.random.Generator) -> Field:
    """Return noise whose amplitude falls with a random power of the frequency, stretched in one direction."""
    frequency_y, frequency_x = np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij")
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(0, 2))
    along = frequency_x * np.cos(angle) + frequency_y * np.sin(angle)
    across = frequency_y * np.cos(angle) - frequency_x * np.sin(angle)
    radius = np.hypot(along * stretch, across) + 1 / size
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * radius ** -rng.uniform(0.3, 2.2)
    return _stretched(np.fft.irfft2(spectrum, s=(size, size)))


def grating(size: int, rng: np.random.Generator) -> Field:
    """Return the sum of one to three waves, from sinusoids to stripes, bent a little."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    field = np.zeros((size, size), np.float32)
    bend = fractal_noise(size, rng) * rng.uniform(0, 4)
    for _ in range(rng.integers(1, 4)):
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(64)))  # pixels
        phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period
        field += np.tanh(np.exp(rng.uniform(-1, 2)) * np.sin(phase + bend + rng.uniform(0, 6)))
    return _stretched(field)


def tiles(size: int, rng: np.random.Generator) -> Field:
    """Return a small motif repeated over the image, with a little variation."""
    side = int(rng.integers(6, 48))  # pixels
    motif = (leaves if rng.random() < 0.5 else fractal_noise)(side, rng)
    repeat = size // side + 1
    field = np.tile(motif, (repeat, repeat))[:size, :size]
    return _stretched(field + rng.uniform(0, 0.5) * fractal_noise(size, rng))


def leaves(size: int, rng: np.random.Generator) -> Field:
    """Return shapes of many sizes dropped over each other (dead leaves), each of one grey."""
    canvas = Image.new("L", (size, size), int(rng.integers(256)))
    draw = ImageDraw.Draw(canvas)
    corners = int(rng.integers(3, 9))
    is_round = rng.random() < 0.5
    for radius in np.sort(_radii(size, int(rng.integers(5, 150)), rng))[::-1]:
        centre, grey = rng.uniform(0, size, 2), int(rng.integers(256))
        if is_round:
            reach = radius * rng.uniform(0.5, 1.5, 2)
            draw.ellipse([*(centre - reach), *(centre + reach)], fill=grey)
        else:
            angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
            outline = centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            draw.polygon([(float(x), float(y)) for x, y in outline], fill=grey)
    return np.asarray(canvas, np.float32) / 255


def strokes(size: int, rng: np.random.Generator) -> Field:
    """Return thin lines, arcs and letters on a plain ground: scratches, wires, prints."""
    canvas = Image.new("L", (size, size), int(rng.integers(256)))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(3, 40)):
        grey, width = int(rng.integers(256)), int(rng.integers(1, 5))
        start, end = np.sort(rng.uniform(-0.2 * size, 1.2 * size, (2, 2)), axis=0)
        kind = rng.integers(3)
        if kind == 0:
            draw.line([*rng.uniform(0, size, 4)], fill=grey, width=width)
        elif kind == 1:
            first, last = rng.uniform(0, 360, 2)  # degrees
            draw.arc([*start, *end], first, last, fill=grey, width=width)
        else:
            letters = "".join(chr(code) for code in rng.integers(33, 127, rng.integers(1, 8)))
            draw.text((start[0], start[1]), letters, fill=grey)
    return np.asarray(canvas, np.float32) / 255


_FIELDS = (fractal_noise, fractal_noise, grating, tiles, leaves, leaves, strokes)


def _radii(size: int, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw radii in pixels whose density falls with the cube, as natural images have it."""
    smallest, largest = 0.01 * size + 1, 0.4 * size
    share = rng.random(count)
    return 1 / np.sqrt(smallest**-2 + share * (largest**-2 - smallest**-2))


def _layer(size: int, rng: np.random.Generator) -> Picture:
    """Return a field in the colours of a random palette, sometimes rough with noise of its own."""
    field = _FIELDS[rng.integers(len(_FIELDS))](size, rng)
    if rng.random() < 0.5:
        field = _stretched(field + rng.uniform(0, 0.7) * fractal_noise(size, rng))
    palette = rng.random((3, 3))
    if rng.random() < 0.4:
        palette[:] = palette[:, :1]  # greys
    stops = np.array([0.0, rng.uniform(0.2, 0.8), 1.0])
    return np.stack([np.interp(field, stops, colour) for colour in palette.T], axis=-1).astype(np.float32)


def _mask(size: int, rng: np.random.Generator) -> Field:
    """Return the share (H, W) of a layer that is laid over others, with hard or soft edges."""
    field = _FIELDS[rng.integers(len(_FIELDS))](size, rng)
    threshold = np.quantile(field, rng.uniform(0.3, 0.95))
    edge = np.clip((field - threshold) * np.exp(rng.uniform(1, 5)), 0, 1)
    mask: Field = edge * np.float32(rng.uniform(0.3, 1))
    return mask


def _photograph(image: Picture, rng: np.random.Generator) -> Picture:
    """Blur, light, weaken and roughen an image as a camera would."""
    if rng.random() < 0.5:
        sigma = rng.uniform(0.3, 2.0)  # pixels
        image = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    light = np.linspace(-1, 1, image.shape[0], dtype=np.float32)[:, None, None]
    if rng.random() < 0.5:
        light = light.swapaxes(0, 1)
    contrast, level = rng.uniform(0.15, 1.0), rng.uniform(0.2, 0.8)
    image = (level + contrast * (image - image.mean())) * (1 + rng.uniform(-0.3, 0.3) * light)
    noise = rng.normal(0, rng.uniform(0, 0.03), image.shape)
    picture: Picture = np.clip(image + noise, 0, 1)
    return picture.astype(np.float32)


def _stretched(field: Field) -> Field:
    """Return the field moved and scaled to [0, 1]."""
    low, high = field.min(), field.max()
    stretched: Field = (field - low) / (high - low + 1e-6)
    return stretched.astype(np.float32)
