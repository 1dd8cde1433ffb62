# SPDX-License-Identifier: Apache-2.0
"""What may be wrong with the files of a checkpoint."""

from __future__ import annotations

from cosmos_flywheel.core.errors import EngineError, NotHereError


class CheckpointError(EngineError, NotHereError):
    """A file is missing, broken or another one: no seed mends it, another machine's may do."""
