"""Cut photo.npy out of the picture ``camera.png`` that the scikit-image wheel ships; see PROVENANCE.md.

Run ``python data/make_photo.py WHEEL``, with the wheel from ``pip download --no-deps scikit-image==0.26.0``.
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

MEMBER = "skimage/data/camera.png"
SHA256 = "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a"
TOP, LEFT, SIZE = 24, 120, 256  # head, hands and camera; sky for smooth greys, grass and hair for detail


def main(wheel: Path, target: Path) -> None:
    """Write the crop; no pixel is changed."""
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(MEMBER)
    found = hashlib.sha256(raw).hexdigest()
    if found != SHA256:
        sys.exit(f"{MEMBER} in {wheel} has sha256 {found}, expected {SHA256}: another picture, or another version")
    picture = np.asarray(Image.open(io.BytesIO(raw)))
    np.save(target, np.ascontiguousarray(picture[TOP : TOP + SIZE, LEFT : LEFT + SIZE]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("photo.npy"))
