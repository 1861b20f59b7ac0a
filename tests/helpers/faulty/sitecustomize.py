"""Imported at their start by the decode processes of tests that put this folder first on their path.

Pillow's JPEG decoder then crashes on images of one size, and never ends on those of another, as native
decoders do on damaged files.
"""

import os
import sys

CRASHES, HANGS = (97, 101), (101, 97)
"""Width and height."""

if "thorax.imaging.decode_worker" in sys.orig_argv:
    from PIL.JpegImagePlugin import JpegImageFile

    _load = JpegImageFile.load

    def load(image):
        """Decode, or do not."""
        if image.size == CRASHES:
            os.write(2, b"libjpeg: patient SECRET\n")
            os.abort()
        while image.size == HANGS:
            pass
        return _load(image)

    JpegImageFile.load = load  # type: ignore[method-assign]
