# SPDX-License-Identifier: Apache-2.0
"""Writes docs/overlay.png: what the monitor publishes at an alarm, from a bag of the demo."""

from __future__ import annotations

from pathlib import Path

import cv2

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.live.comparing import Compared
from cosmos_flywheel.capture.live.overlay import draw_overlay
from cosmos_flywheel.capture.model import load_judge
from cosmos_flywheel.store.robots import load_robot

ROOT = Path(__file__).resolve().parents[1]
BAG = ROOT / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1104'


def main() -> None:
    """Draw the first tick in alarm."""
    judge = load_judge(ROOT / 'demo' / 'model')
    with open_bag(BAG) as source:
        analysis = Analysis(source, load_robot('mujoco_push'), judge, CaptureSettings())
        for moment in analysis.moments():
            compared = Compared(analysis.scorer.score(moment), moment)
            if compared.score.alarms:
                break
    cv2.imwrite(str(ROOT / 'docs' / 'overlay.png'), draw_overlay(compared)[:, :, ::-1])


if __name__ == '__main__':
    main()
