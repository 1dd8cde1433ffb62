# SPDX-License-Identifier: Apache-2.0
"""What a model folder knows of its robot, whoever foretells: Cosmos here, or at a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cosmos_flywheel import schemas
from cosmos_flywheel.core.lineage import canonical_json
from cosmos_flywheel.engines.cosmos.actions import ActionMap
from cosmos_flywheel.engines.cosmos.view import Size, View

CELL_PX = 8
"""Of residuals, for each latent cell."""
Model = TypeVar('Model', bound='RobotModel')


@dataclass(frozen=True, slots=True)
class RobotModel:
    """A robot as Cosmos is told of it, and how Cosmos is asked."""

    robot: str
    task: str
    clock_hz: float
    camera_size: Size
    """(H, W) of the primary camera's own pictures."""
    view: View
    actions: ActionMap
    settings: Any

    @property
    def compared(self) -> Size:
        """(H, W) of residuals: 8 px for each latent cell."""
        rows, columns = self.view.cells
        return CELL_PX * (rows.stop - rows.start), CELL_PX * (columns.stop - columns.start)

    def with_settings(self: Model, **changed: Any) -> Model:
        """The same model, asked otherwise."""
        return replace(self, settings=replace(self.settings, **changed))

    def robot_content(self) -> dict[str, Any]:
        """As a document holds it; the settings stand apart."""
        return {
            'robot': self.robot,
            'task': self.task,
            'clock_hz': self.clock_hz,
            'camera_size': list(self.camera_size),
            'view': self.view.to_mapping(),
            'actions': self.actions.to_mapping(),
        }


def read_robot(document: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `robot_content`, by field."""
    high, wide = document['camera_size']
    return {
        'robot': document['robot'],
        'task': document['task'],
        'clock_hz': document['clock_hz'],
        'camera_size': (high, wide),
        'view': View.from_mapping(document['view']),
        'actions': ActionMap.from_mapping(document['actions']),
    }


def document_bytes(document: Mapping[str, Any], schema: str, name: str) -> dict[str, bytes]:
    """A document that holds, by its file's name."""
    schemas.check(document, schema, where=name)
    text = json.dumps(json.loads(canonical_json(document)), indent=2, sort_keys=True) + '\n'
    return {name: text.encode('ascii')}


def known_fields(written: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """What a dataclass has of what was written; others are a later version's."""
    return {k: v for k, v in written.items() if k in kind.__dataclass_fields__}
