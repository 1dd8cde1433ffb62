# SPDX-License-Identifier: Apache-2.0
"""Is the action where to be, or how far to move?"""

from __future__ import annotations

from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.finding import Finding, cannot_tell

KIND = 'kind'


def check_kind(belief: Belief) -> Finding:
    """Absolute commands and summed deltas, held against what was measured."""
    shares = {
        kind: max((r.in_time for r in belief.readings.values() if r.kind == kind), default=0.0)
        for kind in ('absolute', 'delta')
    }
    written, believed = belief.written.kind, belief.believed.kind
    said = ', '.join(f'{kind} {share:.2f}' for kind, share in shares.items())
    if not belief.is_known:
        return cannot_tell(KIND, f'no reading explains what was measured ({said})', numbers=shares)
    if believed == written:
        return Finding(KIND, 'ok', f'share of the motion explained: {said}', numbers=shares)
    why = f'read as {believed}, the actions explain the motion far better ({said})'
    return Finding(KIND, 'wrong', why, fix=f'action.kind: {believed}', numbers=shares)
