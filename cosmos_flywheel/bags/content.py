# SPDX-License-Identifier: Apache-2.0
"""Messages given as plain values to CDR, of the types that ROS 2 ships."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from cosmos_flywheel.core.errors import BagError

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


class ContentWriter:
    """Serializes plain values; the types are those of ROS 2 Jazzy."""

    def __init__(self) -> None:
        self.typestore: Any = get_typestore(Stores.ROS2_JAZZY)
        """Of rosbags."""

    def to_cdr(self, where: str, msgtype: str, content: Mapping[str, Any]) -> bytes:
        """One message.

        Args:
            where: what to call the message in errors.
            msgtype: as ROS 2 writes it: `sensor_msgs/msg/JointState`.
            content: every field by name: numbers, texts, arrays, lists, and mappings for
                messages.

        Raises:
            BagError: An unknown type, or content that does not fit its type.
        """
        types = self.typestore
        where = f'{where}, a {msgtype!r}'
        if msgtype not in types.types:
            raise BagError(f'{where}: no type that ROS 2 ships; use one of those')
        try:
            return bytes(types.serialize_cdr(_made(types, msgtype, content), msgtype))
        except _UNFIT as error:
            raise BagError(f'{where}: its content does not fit ({error!r})') from error


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
