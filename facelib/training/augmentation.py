"""Random changes of a training image; Paddle's own image operations do the work."""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageFilter

from facelib._paddle import paddle  # noqa: F401  isort: skip  (first, so that its import is quiet)
from paddle.vision.transforms import functional as F

from facelib.data import corruptions


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which the changes of one image are drawn, uniformly; the defaults change nothing."""

    flip: float = 0.0  # probability of a mirrored image
    rotation: float = 0.0  # degrees either way
    scale: float = 0.0  # share of the size either way,
    shift: float = 0.0  # of the width,
    brightness: float = 0.0  # of the light,
    contrast: float = 0.0  # of the contrast
    grey: float = 0.0  # probability of a greyscale image
    occlusion: tuple[float, float] = (0.0, 0.0)  # least and largest share of the area that a grey rectangle covers
    blur: float = 0.0  # probability of a Gaussian blur of 0.3 to 1.5 pixels
    low_resolution: float = 0.0  # of a loss of pixels: down to 0.35 to 0.8 of the sides and up again
    warp: float = 0.0  # of the width: how far each point of a grid of 4 x 4 moves either way, the image with them
    jpeg: float = 0.0  # probability of JPEG compression at a quality of 10 to 60

    def __call__(self, face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A changed copy of a face, (H, W, 3) uint8; beyond the border the image is mirrored."""
        return self.change(face, rng)[0]

    def change(self, face: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
        """As a call, and whether the face was flipped."""
        image = Image.fromarray(face)
        flipped = bool(self.flip and rng.random() < self.flip)
        if flipped:
            image = F.hflip(image)
        if self.rotation or self.scale or self.shift:
            image = self._moved(image, rng)
        if self.brightness:
            image = F.adjust_brightness(image, 1 + rng.uniform(-self.brightness, self.brightness))
        if self.contrast:
            image = F.adjust_contrast(image, 1 + rng.uniform(-self.contrast, self.contrast))
        if self.grey and rng.random() < self.grey:
            image = F.to_grayscale(image, 3)
        if self.blur and rng.random() < self.blur:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5)))
        if self.low_resolution and rng.random() < self.low_resolution:
            image = self._coarse(image, rng.uniform(0.35, 0.8))
        changed = np.asarray(image)
        if self.warp:
            changed = self._warped(changed, rng)
        if self.jpeg and rng.random() < self.jpeg:
            changed = np.ascontiguousarray(corruptions.jpeg(changed, rng.integers(10, 61)))
        return (self._covered(changed, rng) if self.occlusion[1] else changed), flipped

    def _moved(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        size = image.width
        angle, zoom = rng.uniform(-1, 1, 2) * (self.rotation, self.scale)
        shift = tuple(rng.uniform(-1, 1, 2) * self.shift * size)
        margin = size // 3  # more than a corner moves at 15 degrees and 0.8 of the size
        wide = F.pad(image, margin, padding_mode="reflect")
        moved = F.affine(wide, angle, shift, 1 + zoom, [0.0, 0.0], interpolation="bilinear")
        return F.crop(moved, margin, margin, image.height, size)

    def _coarse(self, image: Image.Image, share: float) -> Image.Image:
        few = [max(1, round(side * share)) for side in image.size]
        return image.resize(few, Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BILINEAR)

    def _warped(self, face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = face.shape[:2]
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        dx, dy = (cv2.resize(rng.uniform(-1, 1, (4, 4)) * self.warp * width, (width, height)) for _ in "xy")
        where = (x + dx).astype(np.float32), (y + dy).astype(np.float32)
        return cv2.remap(face, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

    def _covered(self, face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = face.shape[:2]
        area, aspect = rng.uniform(*self.occlusion), np.exp(rng.uniform(-0.7, 0.7))  # sides up to 1 : 2
        h, w = (max(1, round(side)) for side in (height * np.sqrt(area * aspect), width * np.sqrt(area / aspect)))
        h, w = min(h, height), min(w, width)
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        return F.erase(face, top, left, h, w, np.full((h, w, 3), 128, np.uint8))


AUGMENTATIONS = {
    "none": Augmentation(),
    "flip": Augmentation(flip=0.5),
    "moderate": Augmentation(0.5, rotation=10, scale=0.1, shift=0.06, brightness=0.2, contrast=0.2, grey=0.15),
    "strong": Augmentation(0.5, 15, 0.15, 0.08, 0.3, 0.3, grey=0.2, occlusion=(0.02, 0.2)),
    # The ranges of the training guide (claim G01), with a flip.
    "guide": Augmentation(0.5, rotation=15, scale=0.2, brightness=0.2, contrast=0.15, occlusion=(0.05, 0.2)),
    # The same one by one.
    "flip-rotation": Augmentation(0.5, rotation=15),
    "flip-scale": Augmentation(0.5, scale=0.2),
    "flip-brightness": Augmentation(0.5, brightness=0.2),
    "flip-contrast": Augmentation(0.5, contrast=0.15),
    "flip-occlusion": Augmentation(0.5, occlusion=(0.05, 0.2)),
    # Four changes that the guide does not have.
    "flip-degraded": Augmentation(0.5, blur=0.25, low_resolution=0.25, warp=0.04, jpeg=0.25),
    "distillation": Augmentation(0.5, 16, 0.16, 0.05, 0.2, 0.2, grey=0.15, blur=0.1, low_resolution=0.1),
}
