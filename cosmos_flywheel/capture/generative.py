# SPDX-License-Identifier: Apache-2.0
"""The model of an engine that paints what will be seen → a session of it, and its files.

Cosmos runs in this process, or at a server; who judges does not ask which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.engines import COSMOS_LEVELS, REMOTE_LEVELS
from cosmos_flywheel.engines.cosmos.causal.session import CosmosStream
from cosmos_flywheel.engines.cosmos.causal.settings import StreamSettings
from cosmos_flywheel.engines.cosmos.model import CosmosModel
from cosmos_flywheel.engines.cosmos.session import Cosmos
from cosmos_flywheel.engines.cosmos.settings import CosmosSettings
from cosmos_flywheel.engines.remote.model import RemoteModel
from cosmos_flywheel.engines.remote.server import Server
from cosmos_flywheel.engines.remote.session import Remote
from cosmos_flywheel.engines.remote.settings import RemoteSettings
from cosmos_flywheel.video.decode import decode_video

GenerativeModel = CosmosModel | RemoteModel


@dataclass(frozen=True, slots=True)
class CosmosChoice:
    """Which checkpoint engine cosmos is to be, and how it is asked."""

    settings: CosmosSettings
    checkpoint: Path
    commit: str = ''
    """That it was downloaded at; empty where the folder's name says it."""

    def model(self, robot: Robot, camera_size: tuple[int, int]) -> GenerativeModel:
        """Of a robot whose pictures are of (H, W) px."""
        return CosmosModel.of(robot, camera_size, self.settings, self.checkpoint, self.commit)


@dataclass(frozen=True, slots=True)
class RemoteChoice:
    """Which server is to be asked, and how."""

    settings: RemoteSettings
    server: Server

    def model(self, robot: Robot, camera_size: tuple[int, int]) -> GenerativeModel:
        """Of a robot whose pictures are of (H, W) px."""
        return RemoteModel.of(robot, camera_size, self.settings, self.server)


def session_of(model: GenerativeModel) -> Cosmos:
    """A session, made without loading or asking anything."""
    if isinstance(model, RemoteModel):
        return Remote(model, _pictures)
    is_causal = isinstance(model.settings, StreamSettings)
    return CosmosStream(model) if is_causal else Cosmos(model)


def load_model(folder: Path, level: str) -> GenerativeModel | None:
    """What a model folder holds of such an engine; None for other levels.

    Raises:
        SchemaError, EngineError: the document does not hold.

    """
    if level in REMOTE_LEVELS:
        return RemoteModel.load(folder)
    return CosmosModel.load(folder) if level in COSMOS_LEVELS else None


def files_of(model: GenerativeModel, folder: Path) -> dict[str, bytes]:
    """By name, what a model folder holds of it; a checkpoint on this machine is linked there."""
    if isinstance(model, CosmosModel):
        model.link(folder)
    return model.written()


def _pictures(film: bytes) -> Sequence[Picture]:
    return decode_video(film)[1]
