# SPDX-License-Identifier: Apache-2.0
"""A film whose first picture is known before it is made → whether a server answers rightly."""

from __future__ import annotations

import secrets
import tempfile
import threading
from pathlib import Path

import cv2
import numpy as np

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.engines.remote.client import VideoClient
from cosmos_flywheel.engines.remote.control import LEAST_PSNR_DB
from cosmos_flywheel.engines.remote.form import png_of
from cosmos_flywheel.engines.remote.video import run
from cosmos_flywheel.engines.remote.video_job import VideoJob

CONTROL_SIZE = (192, 320)
CONTROL_FRAMES, CONTROL_STEPS = 5, 4
COARSE_PX = 32


def positive_control(
    client: VideoClient,
    like: VideoJob | None = None,
    *,
    least_psnr_db: float = LEAST_PSNR_DB,
    stop: threading.Event | None = None,
    folder: Path | None = None,
) -> float:
    """Have a small film made whose first picture is known, once a batch.

    The picture is drawn anew each time, so that neither another model's film nor an old one of the
    right model begins with it.

    Args:
        client: whom to ask.
        like: another film to ask for, for a checkpoint that makes no film of a picture; it has to
            begin with what it is given.
        least_psnr_db: of the film's first picture to the given one.
        stop: set by whoever wants no answer any more.
        folder: where the film lies meanwhile, so that one of a process that is killed is found;
            None for the system's.

    Returns:
        That PSNR, in dB.

    Raises:
        EngineError: the answer is another one, with the PSNR.

    """
    job = like or VideoJob(
        kind='image_to_video',
        prompt='A still picture of coloured patches; nothing moves, the camera stands still.',
        size=CONTROL_SIZE,
        frames=CONTROL_FRAMES,
        fps=24.0,
        reference=png_of(patches(CONTROL_SIZE)),
        steps=CONTROL_STEPS,
        guidance=1.0,
    )
    if not job.begins_with_reference:
        raise EngineError(f'a {job.kind} of these condition_frames proves nothing; keep frame 0')
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        film = Path(aside, 'control.mp4')
        made = run(client, job, film, cancelled=stop, least_psnr_db=least_psnr_db)
    return made.psnr_db or 0.0


def patches(size: tuple[int, int]) -> Picture:
    """A picture (H, W, 3) of soft patches, never the same."""
    draw = np.random.default_rng(secrets.randbits(64))
    rows, columns = (max(2, side // COARSE_PX) for side in size)
    coarse = draw.integers(0, 256, (rows, columns, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
