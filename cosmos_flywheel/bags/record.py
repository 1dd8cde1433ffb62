# SPDX-License-Identifier: Apache-2.0
"""Turns messages given as plain values into a new rosbag2 folder of one MCAP file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from rosbags.rosbag2 import StoragePlugin, Writer

from cosmos_flywheel.bags.content import ContentWriter
from cosmos_flywheel.core.errors import StoreError

UNFINISHED: Final = '.recording-'
"""Folders of bags that are being written begin so."""
_METADATA_VERSION: Final = 9
"""Of rosbag2 since ROS 2 Jazzy."""


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
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=path.parent) as aside:
            folder = Path(aside) / path.name
            _write(folder, messages)
            shutil.move(folder, path)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(
            f'{path}: cannot be written ({reason}); free some space or choose another folder'
        ) from error


def _write(folder: Path, messages: Iterable[Stamped]) -> None:
    contents = ContentWriter()
    connections: dict[str, Any] = {}
    with Writer(folder, version=_METADATA_VERSION, storage_plugin=StoragePlugin.MCAP) as writer:
        for message in messages:
            where = f'{message.topic!r} at {message.log_ns} ns'
            data = contents.to_cdr(where, message.msgtype, message.content)
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(
                    message.topic, message.msgtype, typestore=contents.typestore
                )
            writer.write(connections[message.topic], message.log_ns, data)
