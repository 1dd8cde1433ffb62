# SPDX-License-Identifier: Apache-2.0
"""Is everything that the robot file names in the messages?"""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.finding import Finding, listed

PRESENCE = 'presence'


def check_presence(belief: Belief) -> Finding:
    """Elements of action and state that never have a value."""
    robot, logs = belief.study.robot, belief.study.logs
    missing: list[str] = []
    topics: list[str] = []
    holes, total = 0, 0
    for source in (*robot.action_sources, *robot.state_sources):
        tracks = [log.tracks[source.key] for log in logs if source.key in log.tracks]
        values = [track.values for track in tracks]
        known = np.isfinite(np.concatenate([*values, np.empty((0, len(source.names)))]))
        gone = [name for name, there in zip(source.names, known.any(0), strict=True) if not there]
        if gone:
            missing += gone
            topics.append(source.topic)
        holes += int((~known).sum())
        total += known.size
    share = holes / total if total else 0.0
    if missing:
        why = f'never a number in {listed(tuple(dict.fromkeys(topics)))}: {listed(missing)}'
        fix = 'name elements and topics as `flywheel inspect` shows them'
        return Finding(PRESENCE, 'wrong', why, tuple(missing), fix, {'not_finite': share})
    said = f'{total - holes} numbers, {share:.1%} of all are missing or not finite'
    return Finding(PRESENCE, 'ok', said, numbers={'not_finite': share})
