# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of Cosmos, a robot and settings ↔ the one document of a model folder.

The document names the checkpoint by its commit and its files' SHA-256, never by its place: that is
a link beside it, which may be made anew on another machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.engines.cosmos.actions import ActionMap
from cosmos_flywheel.engines.cosmos.causal.manifest import Manifest
from cosmos_flywheel.engines.cosmos.causal.settings import LEVEL, StreamSettings
from cosmos_flywheel.engines.cosmos.robot_model import (
    RobotModel,
    document_bytes,
    known_fields,
    read_robot,
)
from cosmos_flywheel.engines.cosmos.settings import CosmosSettings
from cosmos_flywheel.engines.cosmos.sums import file_sums, verify
from cosmos_flywheel.engines.cosmos.view import Size, View

SCHEMA = 'cosmos-v1'
DOCUMENT = 'cosmos.json'
LINK = 'checkpoint'
REVISION = 1
"""Counts up whenever equal files and input get another prediction or residual."""
COMMIT = re.compile(r'[0-9a-f]{40}')


@dataclass(frozen=True, slots=True)
class CosmosModel(RobotModel):
    """Everything that a session needs."""

    settings: CosmosSettings
    commit: str
    """Of the checkpoint, 40 hex digits."""
    files: Mapping[str, str]
    """SHA-256 of the checkpoint's files, by path within it."""
    checkpoint: Path
    """Where the checkpoint is on this machine."""

    @classmethod
    def of(
        cls,
        robot: Robot,
        camera_size: Size,
        settings: CosmosSettings,
        checkpoint: Path,
        commit: str = '',
    ) -> CosmosModel:
        """For a robot.

        Args:
            robot: with a Cosmos domain.
            camera_size: (H, W) of its primary camera's pictures.
            settings: how Cosmos is asked.
            checkpoint: a folder in the hub's layout.
            commit: that it was downloaded at; '' reads it from the folder's own name.

        Raises:
            ConfigError, EngineError: the robot, the settings or the checkpoint does not do.

        """
        commit = commit or checkpoint.resolve().name
        if not COMMIT.fullmatch(commit):
            raise EngineError(
                f'{checkpoint}: is not named by its commit of 40 hex digits; give --revision'
            )
        files = file_sums(checkpoint)
        actions = ActionMap.of(robot)
        manifest = Manifest.of_folder(checkpoint)
        if isinstance(settings, StreamSettings):
            if manifest is None:
                raise EngineError(
                    f'{checkpoint}: is no causal checkpoint; give --engine cosmos-480 or '
                    'cosmos-256'
                )
            settings.check(manifest)
            actions = manifest.fitted(actions)
        elif manifest is not None:
            raise EngineError(f'{checkpoint}: is a causal checkpoint; give --engine {LEVEL}')
        return cls(
            robot.name,
            robot.task,
            robot.clock.hz,
            camera_size,
            View.of(robot, camera_size, settings.tier),
            actions,
            settings,
            commit,
            files,
            checkpoint,
        )

    @property
    def sha256(self) -> str:
        """Of everything that decides predictions."""
        content = {**self._content(), 'settings': self.settings.deciding(), 'revision': REVISION}
        return sha256_hex(canonical_json(content))

    def verify(self) -> None:
        """Raise EngineError unless the checkpoint is the one that the document names."""
        verify(self.checkpoint, self.files)

    def written(self) -> dict[str, bytes]:
        """By file name, all that a model folder holds of it, but for the link."""
        document = {'schema': SCHEMA, **self._content(), 'settings': asdict(self.settings)}
        return document_bytes(document, SCHEMA, DOCUMENT)

    def link(self, folder: Path) -> None:
        """Let a model folder say where the checkpoint is; an older link is replaced."""
        target = self.checkpoint.resolve()
        if target == folder.resolve() / LINK:  # it was not there, or lies in the folder itself
            return
        partial = folder / f'.{LINK}.{os.getpid()}'
        partial.symlink_to(target, target_is_directory=True)
        os.replace(partial, folder / LINK)

    @classmethod
    def load(cls, folder: Path) -> CosmosModel:
        """Read what `written` and `link` wrote; whether the checkpoint is there shows later.

        Raises:
            SchemaError: the document does not hold.
            EngineError: a setting is out of its range.

        """
        document = schemas.load(folder / DOCUMENT, SCHEMA)
        kind = StreamSettings if 'window' in document['settings'] else CosmosSettings
        return cls(
            **read_robot(document),
            settings=kind(**known_fields(document['settings'], kind)),
            commit=document['commit'],
            files=dict(document['files']),
            checkpoint=folder / LINK,
        )

    def _content(self) -> dict[str, Any]:
        return {**self.robot_content(), 'commit': self.commit, 'files': dict(self.files)}
