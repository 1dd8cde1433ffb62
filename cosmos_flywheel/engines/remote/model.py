# SPDX-License-Identifier: Apache-2.0
"""A server's model, a robot and settings ↔ the one document of a model folder.

The document names the model and its commit, and where it was served. Neither the server's own
version, precision nor hardware is known here: what it answers is its own affair.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.engines.cosmos.actions import ActionMap
from cosmos_flywheel.engines.cosmos.robot_model import (
    RobotModel,
    document_bytes,
    known_fields,
    read_robot,
)
from cosmos_flywheel.engines.cosmos.view import Size, View
from cosmos_flywheel.engines.remote.server import Server
from cosmos_flywheel.engines.remote.settings import RemoteSettings

SCHEMA = 'remote-v1'
DOCUMENT = 'remote.json'
REVISION = 1
"""Counts up whenever equal answers and input get another prediction or residual."""
SLOWEST_HZ = 1.0
"""The server takes no film of fewer pictures a second."""


@dataclass(frozen=True, slots=True)
class RemoteModel(RobotModel):
    """Everything that a session needs."""

    settings: RemoteSettings
    holds: bool
    """Whether a command that is repeated keeps the robot where it is, as an absolute one does."""
    server: Server

    @classmethod
    def of(
        cls, robot: Robot, camera_size: Size, settings: RemoteSettings, server: Server
    ) -> RemoteModel:
        """For a robot.

        Raises:
            ConfigError, EngineError: the robot or the settings do not do.

        """
        if robot.clock.hz < SLOWEST_HZ:
            raise EngineError(
                f'robot {robot.name}: a clock of {robot.clock.hz:g} Hz is too slow for the '
                f'server; it takes {SLOWEST_HZ:g} Hz or more'
            )
        return cls(
            robot.name,
            robot.task,
            robot.clock.hz,
            camera_size,
            View.of(robot, camera_size, settings.tier),
            ActionMap.of(robot),
            settings,
            robot.action.kind == 'absolute',
            server,
        )

    @property
    def sha256(self) -> str:
        """Of everything that decides predictions, as far as it is known."""
        content = {**self._content(), 'settings': self.settings.deciding(), 'revision': REVISION}
        return sha256_hex(canonical_json(content))

    def written(self) -> dict[str, bytes]:
        """By file name, all that a model folder holds of it; never a token."""
        document = {
            'schema': SCHEMA,
            **self._content(),
            'settings': asdict(self.settings),
            'server': asdict(self.server),
        }
        return document_bytes(document, SCHEMA, DOCUMENT)

    @classmethod
    def load(cls, folder: Path) -> RemoteModel:
        """Read what `written` wrote; whether the server is there shows later.

        Raises:
            SchemaError: the document does not hold.
            EngineError: a setting is out of its range.

        """
        document = schemas.load(folder / DOCUMENT, SCHEMA)
        return cls(
            **read_robot(document),
            settings=RemoteSettings(**known_fields(document['settings'], RemoteSettings)),
            holds=document['holds'],
            server=Server(**known_fields(document['server'], Server)),
        )

    def _content(self) -> dict[str, Any]:
        return {
            **self.robot_content(),
            'holds': self.holds,
            'model': self.server.model,
            'commit': self.server.commit,
        }
