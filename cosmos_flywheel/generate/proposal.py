# SPDX-License-Identifier: Apache-2.0
"""What a model's policy proposes, chunk after chunk, and how far it may be followed.

All chunks are one path of commands: each is held against the brief's envelope with its join to
the one before. A first chunk that leaves it refuses the candidate. A later one ends the film
before it: what was made until then keeps to the envelope, and the manifest says where it ends.
"""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.engines.base import POLICY
from cosmos_flywheel.generate.actions import Commands, planned
from cosmos_flywheel.generate.conditions import Rows, proposed_commands
from cosmos_flywheel.generate.shot import Shot, past_commands, with_past


class Proposal:
    """The commands of a film of kind `policy`, while its chunks come back.

    Args:
        shot: what was asked for.

    """

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._chunks, self._left = 0, ''
        self.commands: Commands | None = None
        """Of context and film, as far as they are followed."""

    def follows(self, rows: Rows) -> bool:
        """Whether the newest chunk may be followed; if not, the film ends before it.

        Args:
            rows: (n * chunk, width) of all chunks from the first to the newest.

        Raises:
            ConfigError: the first one leaves the brief's envelope; names the bound.
            EngineError: the rows are not the domain's.

        """
        chunks = len(rows) // self._shot.chunk
        try:
            self.commands = self._held(rows)
        except ConfigError as error:
            if chunks == 1:
                raise
            self._left = str(error).partition(';')[0]
            return False
        self._chunks, self._left = chunks, ''
        return True

    @property
    def is_whole(self) -> bool:
        """Whether every chunk that came back was followed."""
        return not self._left

    @property
    def notes(self) -> tuple[str, ...]:
        """Why the film is shorter than it was asked to be, if it is."""
        if self.is_whole:
            return ()
        asked = (self._shot.frames - 1) // self._shot.chunk
        return (
            f'ends after {self._chunks} of {asked} chunks, which may be before what was to '
            f'happen: the next one is not followed ({self._left})',
        )

    def _held(self, rows: Rows) -> Commands:
        shot, order = self._shot, self._shot.order
        recording, begin = shot.clip.recording, shot.begin
        values = proposed_commands(order.robot, recording.states[begin], rows)
        before = past_commands(recording, begin, len(shot.context) - 1)
        found = planned(values, POLICY, order.robot, order.brief.envelope, before)
        return with_past(order, recording, begin, before, found, np.asarray(rows, np.float32))
