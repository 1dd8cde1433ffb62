# SPDX-License-Identifier: Apache-2.0
"""How many faces a detector hides before a clip leaves, and how much else.

`faces`: 15 faces of 10 photographs and 100 small grey ones (from Labelled Faces in the Wild), put
into a robot's pictures at several sizes, turned, darkened, partly covered. A face counts as hidden
if four fifths of it are. `logs`: boxes in pictures of robots, in which nobody is to be seen.

The photographs lie in packages of the index; unpack these into one folder, for `--pictures`:
`pip download --no-deps scikit-image`, and with `--no-binary :all:` `face_recognition insightface`.
The places of the faces are those the detector found at full size, looked through by eye: no face
of the photographs was without a box, but for two out of focus behind another. 15 faces are few.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from common import Bench, begin, print_table

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.playback import PICTURES
from cosmos_flywheel.bags.source import find_bags, open_bag
from cosmos_flywheel.core.errors import FlywheelError, TravelError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.travel.centerface import Box, CenterFace
from cosmos_flywheel.travel.redact import MARGIN, Detector, find_detector
from cosmos_flywheel.video.decode import decode_video

HIDDEN = 0.8
AROUND = 0.8
"""Of a face's sides, so much of the photograph comes along on each side."""
CAMERA = (480, 640)
SIZES = (12, 16, 24, 32, 48, 96)
USUAL_PX = 48
PHOTOS: dict[str, tuple[Box, ...]] = {
    'obama_partial_face.jpg': ((1, 72, 176, 365),),
    'obama_partial_face2.jpg': ((374, 73, 177, 379),),
    'biden.jpg': ((431, 171, 267, 379),),
    'obama.jpg': ((374, 107, 228, 310),),
    'obama2.jpg': ((197, 214, 265, 443),),
    'obama3.jpg': ((647, 267, 253, 332),),
    'Tom_Hanks_54745.png': ((6, 4, 81, 106),),
    't1.jpg': ((744, 344, 99, 136), (464, 268, 107, 147), (1132, 267, 97, 133),
               (902, 59, 111, 146), (62, 266, 103, 128), (271, 150, 99, 113)),
    'astronaut.png': ((181, 58, 88, 119),),
    'camera.png': ((202, 118, 55, 77),),
}  # fmt: skip
FACES_OF_LFW = 100
"""The first so many of lfw_subset.npy; as many after them are no faces."""


@dataclass(frozen=True)
class Face:
    """A piece of a photograph, and where in it the face is."""

    picture: Picture
    box: Box

    def scaled(self, width_px: float) -> Face:
        """So that the face is so wide."""
        factor = width_px / self.box[2]
        kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        picture = cv2.resize(self.picture, None, fx=factor, fy=factor, interpolation=kind)
        left, top, width, height = (round(side * factor) for side in self.box)
        return Face(np.asarray(picture, np.uint8), (left, top, width, height))

    def turned(self, degrees: float) -> tuple[Picture, np.ndarray]:
        """The piece turned about the face; where the face is, and the piece (H, W, 2)."""
        left, top, width, height = self.box
        shape = self.picture.shape[:2]
        mask = np.zeros((*shape, 2), np.uint8)
        mask[..., 1] = 255
        mask[top : top + height, left : left + width, 0] = 255
        middle = (left + width / 2, top + height / 2)
        matrix = cv2.getRotationMatrix2D(middle, degrees, 1.0)
        whole = np.dstack([self.picture, mask])
        side = int(np.ceil(np.hypot(*shape)))
        matrix[:, 2] += side / 2 - np.array(middle)
        planes = [cv2.warpAffine(whole[..., n], matrix, (side, side)) for n in range(5)]
        return np.dstack(planes[:3]), np.dstack(planes[3:]) > 127


DETECTORS: dict[str, Callable[[], Detector]] = {
    'centerface': lambda: find_detector('centerface'),
    'at .2': lambda: CenterFace(0.2),
    'haar': lambda: find_detector('haar'),
}
"""`at .2`: centerface with the threshold that is usual."""
Change = Callable[[Face], tuple[Picture, np.ndarray]]


def main() -> int:
    """Measure `centerface`, or `haar` where OpenCV has it."""
    bench = begin('faces', __doc__ or '', pictures='where the packages are unpacked')
    detectors: dict[str, Detector] = {}
    for name, find in DETECTORS.items():
        try:
            detectors[name] = find()
        except TravelError as error:
            print(f'{name}: {error}')
    print(f'OpenCV {cv2.__version__}; detectors: {", ".join(detectors)}')
    folder = bench.given['pictures']
    if bench.wants('faces') and folder is not None:
        measure_faces(bench, folder, detectors)
    elif bench.wants('faces'):
        print('faces: left out; give --pictures (see --help)')
    if bench.wants('logs'):
        measure_logs(bench, detectors)
    return bench.finish()


def measure_faces(bench: Bench, folder: Path, detectors: dict[str, Detector]) -> None:
    """A row for each condition, a column for each detector."""
    photos = list(read_photos(folder))
    small, none = read_lfw(folder)
    if bench.quick:
        photos, small, none = photos[::4], small[::10], none[::10]
    ground = list(pictures_of(bench.data / 'g1_pick_bottle', every=40))[:8]
    rows: list[tuple[object, ...]] = [('faces', 'condition', 'of', *detectors)]
    for kind, faces, changes in (('photographs', photos, CHANGES), ('grey', small, GREY)):
        for words, change in changes.items():
            found = {
                name: sum(is_hidden(detect, face, change, ground, n)
                          for n, face in enumerate(faces))
                for name, detect in detectors.items()
            }  # fmt: skip
            rows.append((kind, words, len(faces), *found.values()))
            bench.figures[f'{kind}, {words}'] = {'of': len(faces), **found}
    found = {
        name: sum(bool(boxes_near(detect, face, ground, n)) for n, face in enumerate(none))
        for name, detect in detectors.items()
    }
    rows.append(('no faces, grey', '25 px wide', len(none), *found.values()))
    bench.figures['no faces'] = {'of': len(none), **found}
    print_table(rows)


def is_hidden(
    detect: Detector, face: Face, change: Change, ground: list[Picture], number: int
) -> bool:
    """Whether enough of a face is covered by boxes and their margins."""
    piece, masks = change(face)
    scene, mask = laid(piece, masks, ground, number)
    covered = np.zeros(mask.shape, bool)
    for left, top, width, height in detect(scene):
        across, down = round(width * MARGIN), round(height * MARGIN)
        covered[
            max(0, top - down) : max(0, top + height + down),
            max(0, left - across) : max(0, left + width + across),
        ] = True
    return bool(covered[mask].mean() >= HIDDEN)


def boxes_near(detect: Detector, face: Face, ground: list[Picture], number: int) -> list[Box]:
    """Boxes whose middle lies where this was laid."""
    piece, masks = face.scaled(25).turned(0)
    scene, mask = laid(piece, masks, ground, number)
    middles = {box: (box[1] + box[3] // 2, box[0] + box[2] // 2) for box in detect(scene)}
    down, right = mask.shape
    return [box for box, (y, x) in middles.items() if y < down and x < right and mask[y, x]]


def laid(
    piece: Picture, masks: np.ndarray, ground: list[Picture], number: int
) -> tuple[Picture, np.ndarray]:
    """A robot's picture with the piece somewhere in it, and where the face is."""
    draw = np.random.default_rng(number)
    scene = cv2.resize(ground[number % len(ground)], CAMERA[::-1]).astype(np.uint8)
    mask = np.zeros(CAMERA, bool)
    rows, columns = np.nonzero(masks[..., 1])
    cut = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    piece, masks = piece[cut][: CAMERA[0], : CAMERA[1]], masks[cut][: CAMERA[0], : CAMERA[1]]
    height, width = piece.shape[:2]
    top = int(draw.integers(0, CAMERA[0] - height + 1))
    left = int(draw.integers(0, CAMERA[1] - width + 1))
    place = np.s_[top : top + height, left : left + width]
    scene[place] = np.where(masks[..., 1:], piece, scene[place])
    mask[place] = masks[..., 0]
    return scene, mask


def sized(width_px: int) -> Change:
    return lambda face: face.scaled(width_px).turned(0)


def turned(degrees: float) -> Change:
    return lambda face: face.scaled(USUAL_PX).turned(degrees)


def dark(factor: float) -> Change:
    def change(face: Face) -> tuple[Picture, np.ndarray]:
        piece, masks = face.scaled(USUAL_PX).turned(0)
        noise = np.random.default_rng(1).normal(0, 3, piece.shape)
        return np.clip(piece * factor + noise, 0, 255).astype(np.uint8), masks

    return change


def covered(top: float, bottom: float, left: float, right: float) -> Change:
    """A grey board over a part of the face."""

    def change(face: Face) -> tuple[Picture, np.ndarray]:
        x, y, width, height = face.box
        picture = face.picture.copy()
        picture[
            y + round(top * height) : y + round(bottom * height),
            x + round(left * width) : x + round(right * width),
        ] = 110
        return Face(picture, face.box).scaled(USUAL_PX).turned(0)

    return change


def smeared(face: Face) -> tuple[Picture, np.ndarray]:
    """As by motion, a quarter of the face's width."""
    piece, masks = face.scaled(USUAL_PX).turned(0)
    return np.asarray(cv2.blur(piece, (USUAL_PX // 4, 1)), np.uint8), masks


GREY: dict[str, Change] = {f'{size} px wide': sized(size) for size in SIZES[:4]}
CHANGES: dict[str, Change] = {
    **{f'{size} px wide': sized(size) for size in SIZES},
    **{f'turned by {angle}°': turned(angle) for angle in (30, 60, 90, 180)},
    'at .3 of the light': dark(0.3),
    'at .1 of the light': dark(0.1),
    'lower half covered': covered(0.5, 1, 0, 1),
    'upper half covered': covered(0, 0.5, 0, 1),
    'one side covered': covered(0, 1, 0, 0.5),
    'smeared by motion': smeared,
}


def read_photos(folder: Path) -> Iterator[Face]:
    """Pieces around the faces."""
    for name, boxes in PHOTOS.items():
        path = next(folder.rglob(name), None)
        if path is None:
            sys.exit(f'{folder}: no {name} in it; see --help')
        picture = cv2.imread(str(path))[..., ::-1]
        for left, top, width, height in boxes:
            x, y = max(0, left - round(AROUND * width)), max(0, top - round(AROUND * height))
            piece = picture[
                y : top + round((1 + AROUND) * height), x : left + round((1 + AROUND) * width)
            ]
            yield Face(np.ascontiguousarray(piece), (left - x, top - y, width, height))


def read_lfw(folder: Path) -> tuple[list[Face], list[Face]]:
    """Faces of 25 x 25 px without anything around them, and what are none."""
    path = next(folder.rglob('lfw_subset.npy'), None)
    if path is None:
        sys.exit(f'{folder}: no lfw_subset.npy in it; see --help')
    grey = (np.load(path) * 255).astype(np.uint8)
    found = [Face(np.repeat(one[..., None], 3, 2), (0, 0, 25, 25)) for one in grey]
    return found[:FACES_OF_LFW], found[FACES_OF_LFW:]


def measure_logs(bench: Bench, detectors: dict[str, Detector]) -> None:
    """Boxes where nobody is."""
    rows: list[tuple[object, ...]] = [
        ('set', 'detector', 'pictures', 'size', 'with boxes', 'share hidden', 'ms a picture')
    ]
    every = 120 if bench.quick else 30
    for folder in sorted(path for path in bench.data.iterdir() if path.is_dir()):
        pictures = list(pictures_of(folder, every))
        if not pictures:
            continue
        for name, detect in detectors.items():
            begun_s = time.process_time()
            found = [detect(picture) for picture in pictures]
            spent_ms = (time.process_time() - begun_s) / len(pictures) * 1e3
            area = sum(w * h * (1 + 2 * MARGIN) ** 2 for boxes in found for _, _, w, h in boxes)
            share = area / sum(p.shape[0] * p.shape[1] for p in pictures)
            count = sum(map(bool, found))
            height, width = pictures[0].shape[:2]
            rows.append((folder.name, name, len(pictures), f'{width}x{height}', count,
                         f'{share:.2%}', f'{spent_ms:.0f}'))  # fmt: skip
            bench.figures[f'{folder.name}, {name}'] = [count, len(pictures), round(share, 5)]
    print_table(rows)


def pictures_of(folder: Path, every: int) -> Iterator[Picture]:
    """Every so many of the pictures of bags, films and arrays of a folder."""
    for path in sorted(folder.rglob('*.mp4')):
        yield from list(decode_video(path.read_bytes())[1])[:: max(1, every // 15)]
    for path in sorted(folder.rglob('*.npz')):
        with np.load(path) as arrays:
            for name in arrays.files:
                if name.startswith('image') and arrays[name].dtype == np.uint8:
                    yield from arrays[name][::5]
    try:
        bags = find_bags([folder / 'bags' if (folder / 'bags').is_dir() else folder])
    except FlywheelError:
        return
    for path in bags:
        with open_bag(path) as bag:
            topics = [name for name, topic in bag.topics.items() if topic.msgtype in PICTURES]
            for number, message in enumerate(bag.messages(topics) if topics else ()):
                if number % every == 0:
                    yield decode_picture(bag.deserialize(message))


if __name__ == '__main__':
    sys.exit(main())
