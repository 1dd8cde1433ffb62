# SPDX-License-Identifier: Apache-2.0
"""A variation → which kind of film it is, of the four that Cosmos 3 makes.

`forward_dynamics` shows what commands do, `policy` proposes the commands too, `video_to_video`
lays another look over a control of the clip, `image_to_video` goes on from a picture by words.
"""

from __future__ import annotations

from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS, POLICY
from cosmos_flywheel.engines.cosmos.acting import WITHOUT_WIDTH
from cosmos_flywheel.generate.conditions import untold
from cosmos_flywheel.generate.local import IN_TIME

IMAGE_TO_VIDEO, VIDEO_TO_VIDEO = 'image_to_video', 'video_to_video'
CONTROLS = ('edge', 'depth', 'blur')
"""Of those that the brief has, the first is taken: edges leave colours and light open."""
NEW_SCENE = 'same_failure_new_scene'


def film_kind(brief: Brief, variation: Variation, robot: Robot) -> tuple[str, str]:
    """Which kind of film a variation is, and why there is none, in words ('' if there is)."""
    source = variation.actions
    if source == 'expert':
        return '', 'has no expert to ask: order policy, nominal or perturbed commands'
    if source == POLICY:
        domain = robot.domain
        why = untold(robot, source)
        if not why and domain and domain.name in WITHOUT_WIDTH:
            why = f'domain {domain.name} has no fixed width, so no actions are proposed in it'
        return POLICY, why
    if source == 'recorded' and variation.family == NEW_SCENE and variation.cell:
        return VIDEO_TO_VIDEO if set(CONTROLS) & set(brief.scene.controls) else IMAGE_TO_VIDEO, ''
    why = untold(robot, 'planned' if variation.family in IN_TIME else source)
    if why and source == 'recorded':
        return IMAGE_TO_VIDEO, ''
    return FORWARD_DYNAMICS, why
