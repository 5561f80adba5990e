"""MVTec 3D-AD: RGB images and, for methods that use it, the position of every pixel.

Source: Bergmann, Jin, Sattlegger, Steger, VISAPP 2022.
"""

from pathlib import Path

from dataset.mvtec2df3d import MVTec2DF3D


class MVTec3D(MVTec2DF3D):
    """As MVTec2DF3D; `xyz_path` leads from an image to its third dimension."""

    @staticmethod
    def xyz_path(image_path: Path) -> Path:
        """Return the (H, W, 3) float TIFF of pixel positions that belongs to an RGB image of the release."""
        return image_path.parent.with_name("xyz") / f"{image_path.stem}.tiff"
