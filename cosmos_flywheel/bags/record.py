# SPDX-License-Identifier: Apache-2.0
"""Turns messages given as plain values into a new rosbag2 folder of one MCAP file."""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from rosbags.interfaces import Nodetype
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from cosmos_flywheel.core.errors import BagError, StoreError

_METADATA_VERSION: Final = 9
"""Of rosbag2 since ROS 2 Jazzy."""

_UNFIT = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    SerdeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What a serialiser stumbles over when a value is of another kind than its field."""


class Stamped(Protocol):
    """One message to write."""

    @property
    def topic(self) -> str:
        """Its topic."""
        ...

    @property
    def msgtype(self) -> str:
        """As ROS 2 writes it: `sensor_msgs/msg/JointState`."""
        ...

    @property
    def log_ns(self) -> int:
        """When it was recorded."""
        ...

    @property
    def content(self) -> Mapping[str, Any]:
        """Every field by name: numbers, texts, arrays, lists, and mappings for messages."""
        ...


def write_bag(path: Path, messages: Iterable[Stamped]) -> None:
    """Write a new bag; equal messages and an equal folder name give equal files.

    The folder appears under its name when it is complete. Types are those that ROS 2 Jazzy
    ships.

    Raises:
        StoreError: The path exists or cannot be written.
        BagError: An unknown type, or content that does not fit its type.
    """
    if path.exists():
        raise StoreError(f'{path}: exists; a bag is never overwritten, so name another')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # rosbag2 names the file inside after the folder: it has its final name from the start.
        with tempfile.TemporaryDirectory(prefix='.recording-', dir=path.parent) as aside:
            folder = Path(aside) / path.name
            _write(folder, messages)
            shutil.move(folder, path)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(
            f'{path}: cannot be written ({reason}); free some space or choose another folder'
        ) from error


def _write(folder: Path, messages: Iterable[Stamped]) -> None:
    types = get_typestore(Stores.ROS2_JAZZY)
    connections: dict[str, Any] = {}
    with Writer(folder, version=_METADATA_VERSION, storage_plugin=StoragePlugin.MCAP) as writer:
        for message in messages:
            where = f'{message.topic!r} at {message.log_ns} ns, a {message.msgtype!r}'
            if message.msgtype not in types.types:
                raise BagError(f'{where}: no type that ROS 2 ships; use one of those')
            try:
                made = _made(types, message.msgtype, message.content)
                data = types.serialize_cdr(made, message.msgtype)
            except _UNFIT as error:
                raise BagError(f'{where}: its content does not fit ({error!r})') from error
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(
                    message.topic, message.msgtype, typestore=types
                )
            writer.write(connections[message.topic], message.log_ns, data)


def _made(types: Any, msgtype: str, content: Mapping[str, Any]) -> Any:
    """The message as a dataclass of the typestore; KeyError for a field that is not given."""
    fields = types.fielddefs[msgtype][1]
    return types.types[msgtype](
        **{name: _value(types, kind, content[name]) for name, kind in fields}
    )


def _value(types: Any, kind: Any, value: Any) -> Any:
    node, detail = kind
    if node == Nodetype.NAME:
        return _made(types, detail, value)
    if node in (Nodetype.ARRAY, Nodetype.SEQUENCE) and detail[0][0] == Nodetype.NAME:
        return [_made(types, detail[0][1], item) for item in value]
    return value
