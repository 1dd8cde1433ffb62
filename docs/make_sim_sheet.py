# SPDX-License-Identifier: Apache-2.0
"""Draws docs/sim.png, what simulated robots look like: .venv/bin/python docs/make_sim_sheet.py."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.sim import ROBOTS, find_robot
from cosmos_flywheel.sim.world import setup_of

SHEET = Path(__file__).with_name('sim.png')
ROWS = (
    ('arm', 'push', 'none', 0.0, 4),
    ('arm', 'push', 'kick', 0.6, 4),
    ('arm', 'push', 'blocked', 0.6, 4),
    ('arm', 'pick_place', 'none', 0.0, 7),
    ('arm', 'pick_place', 'missed_grasp', 0.2, 7),
    ('arm', 'pick_place', 'weak_grip', 0.7, 7),
    ('base', 'patrol', 'none', 0.0, 3),
    ('base', 'patrol', 'person', 0.8, 3),
    ('base', 'dock', 'relocated_pallet', 0.8, 3),
)
"""Robot, task, fault, strength and seed; of robots that are not known the row is left out."""
COLUMNS, HEIGHT, WIDTH, TITLE = 5, 96, 160, 14


def row(robot: str, task: str, fault: str, strength: float, seed: int) -> Picture:
    """Pictures from the first second to the last, under a title."""
    chosen = find_robot(robot)
    with closing(chosen.start(setup_of(chosen, task, seed, fault, strength))) as world:
        ticks = round(world.seconds * chosen.control_hz)
        shown = set(np.linspace(0.15 * ticks, ticks - 1, COLUMNS).astype(int))
        pictures = []
        for tick in range(ticks):
            if tick in shown:
                pictures.append(
                    cv2.resize(world.picture(), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
                )
            world.step(world.command())
    title = np.full((TITLE, COLUMNS * WIDTH, 3), 255, np.uint8)
    words = f'{robot} {task}: {fault}' + (f', strength {strength:g}' if strength else '')
    cv2.putText(title, words, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([title, np.hstack(pictures)])


def main() -> None:
    """Draw every row."""
    sheet = np.vstack([row(*asked) for asked in ROWS if asked[0] in ROBOTS])
    # Few levels of colour keep the file small.
    sheet = np.minimum(sheet.astype(int) // 12 * 12 + 6, 255).astype(np.uint8)
    cv2.imwrite(str(SHEET), sheet[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == '__main__':
    main()
