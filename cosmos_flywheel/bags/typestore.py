# SPDX-License-Identifier: Apache-2.0
"""Turns the definitions that a bag carries into message classes, and raw messages into those.

A type whose definition is missing, broken or refers to something unknown is not readable; the
others are. Definitions are untrusted text that becomes code, so every name in them is checked.
"""

from __future__ import annotations

import re
import struct
from collections import ChainMap
from collections.abc import Iterable, Iterator, MutableMapping
from functools import lru_cache
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from cosmos_flywheel.bags.records import Channel, RawMessage
from cosmos_flywheel.core.errors import BagError

HEADER = 'std_msgs/msg/Header'
TIME = 'builtin_interfaces/msg/Time'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'

_TYPE_NAME = re.compile(r'[A-Za-z]\w*(/[A-Za-z]\w*){1,2}', re.ASCII)
_IDENTIFIER = re.compile(r'[A-Za-z_]\w*', re.ASCII)
_BASE_NAME = re.compile(r'[a-z]+\d*', re.ASCII)
_IDL_RULE = '=' * 80 + '\n'
_MAX_DEPTH = 32
_LONGEST_HASH = 64
CDR_PADDING = 3
"""Bytes that writers may add to make a message a multiple of four."""

Definitions = MutableMapping[str, Any]


class MessageTypes:
    """The message classes of one bag."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        """Read the definitions of all channels; never raises for a bad one."""
        channels = list(channels)
        self._ros1 = {c.msgtype for c in channels if c.encoding == 'ros1'}
        self._known = _definitions_of(channels)
        self._stamp_place: dict[str, int | None] = {}
        self._store = get_typestore(Stores.EMPTY)
        self._ros2_store: Any = None
        self._readable: set[str] = set()
        for channel in channels:
            if channel.encoding in ('cdr', 'ros1'):
                self._register(channel.msgtype)

    def readable(self, msgtype: str) -> bool:
        """Whether messages of the type can be deserialised."""
        return msgtype in self._readable

    def deserialize(self, message: RawMessage) -> Any:
        """The message as a dataclass; raises BagError naming topic and type when it cannot."""
        where = f'{message.topic!r} at {message.log_ns} ns: a {message.msgtype!r}'
        if message.msgtype not in self._readable:
            raise BagError(
                f'{where} has no usable definition in the bag; record with a ROS 2 that has the '
                'package sourced, or leave the topic out'
            )
        try:
            if message.msgtype in self._ros1:
                return self._store.deserialize_ros1(message.data, message.msgtype)
            return self._from_cdr(message)
        except (
            SerdeError,
            struct.error,
            ArithmeticError,
            IndexError,
            MemoryError,
            ValueError,
        ) as error:
            raise BagError(f'{where} of {len(message.data)} bytes is corrupt ({error})') from error

    def _from_cdr(self, message: RawMessage) -> Any:
        """As the store does it, but some bytes may follow the message.

        `rclpy.serialization.serialize_message` leaves as many as its estimate of the size was too
        high: four for each empty sequence of doubles, such as an unused `effort`. The sequence's
        count takes four itself, so that they are never more than the message.
        """
        if bytes(message.data[:2]) not in (b'\x00\x00', b'\x00\x01'):
            raise ValueError('unknown CDR encapsulation')
        kind = self._store.get_msgdef(message.msgtype)
        read = kind.deserialize_cdr_le if message.data[1] else kind.deserialize_cdr_be
        content = message.data[4:]
        found, length = read(content, 0, kind.cls, self._store)
        if len(content) - length > length + CDR_PADDING:
            raise ValueError(f'only {length} of {len(content)} bytes are of its definition')
        return found

    def serialize(self, message: Any, msgtype: str) -> bytes:
        """A message of `deserialize`, perhaps changed, as CDR."""
        return bytes(self._store.serialize_cdr(message, msgtype))

    def holds_bytes(self, msgtype: str) -> bool:
        """Whether a message may carry bytes of any meaning, such as a picture or a sound.

        True also for types whose definition is not known.
        """
        if msgtype not in self._readable:
            return True
        return self._holds_blob(msgtype)

    def _holds_blob(self, msgtype: str) -> bool:
        kinds = [kind for _, kind in self._store.fielddefs[msgtype][1]]
        parts = (_part(kind) for kind in kinds)
        return any(map(_is_blob, kinds)) or any(self._holds_blob(p) for p in parts if p)

    def stamp_ns(self, message: RawMessage) -> int | None:
        """The header stamp, read from the bytes alone; None where there is none or it is zero."""
        if message.msgtype not in self._stamp_place:
            self._stamp_place[message.msgtype] = self._stamp_place_of(message.msgtype)
        at = self._stamp_place[message.msgtype]
        if at is None or len(message.data) < at + 8:
            return None
        big_endian = message.msgtype not in self._ros1 and message.data[1] == 0
        seconds, nanoseconds = struct.unpack_from('>iI' if big_endian else '<iI', message.data, at)
        return int(seconds) * 10**9 + int(nanoseconds) or None

    def ros2_text(self, msgtype: str) -> str:
        """The definition as ROS 2 message text, with a ROS 2 header (no `seq`)."""
        return str(self._as_ros2().generate_msgdef(msgtype, ros_version=2)[0])

    def to_cdr(self, message: RawMessage) -> bytes:
        """A ROS 1 message as CDR; raises BagError when it is corrupt."""
        try:
            return bytes(self._as_ros2().ros1_to_cdr(message.data, message.msgtype))
        except (SerdeError, ArithmeticError, IndexError, AssertionError) as error:
            raise BagError(
                f'{message.topic!r} at {message.log_ns} ns: corrupt {message.msgtype!r} ({error})'
            ) from error

    def _as_ros2(self) -> Any:
        """The bag's types with the header of ROS 2 instead of that of ROS 1."""
        if not self._ros1:
            return self._store
        if self._ros2_store is None:
            self._ros2_store = get_typestore(Stores.EMPTY)
            header = get_typestore(Stores.ROS2_HUMBLE).fielddefs[HEADER]
            self._ros2_store.register({**self._store.fielddefs, HEADER: header})
        return self._ros2_store

    def _register(self, msgtype: str) -> None:
        closure: dict[str, Any] = {}
        if msgtype in self._readable or not _close(msgtype, self._known, closure):
            return
        try:
            self._store.register(closure)
            self._store.get_msgdef(msgtype)
        except Exception:  # the code generator's failures have no common class
            return
        self._readable.add(msgtype)

    def _stamp_place_of(self, msgtype: str) -> int | None:
        """At which byte the stamp lies: after the encapsulation (ROS 2), or after seq (ROS 1).

        In a message of transforms their number comes before; without any, the message is shorter.
        """
        if msgtype not in self._readable:
            return None
        fields = self._store.fielddefs[msgtype][1]
        first = fields[0][1] if fields else None
        if first == (Nodetype.NAME, HEADER):
            return 4
        if msgtype == TRANSFORMS and fields[0][0] == 'transforms':
            return 8
        is_time = first == (Nodetype.NAME, TIME) and fields[0][0] == 'stamp'
        return 4 if is_time and msgtype not in self._ros1 else None


@lru_cache(maxsize=16)
def types_of(channels: tuple[Channel, ...]) -> MessageTypes:
    """The message classes of these channels; made once for all bags of one robot."""
    return MessageTypes(channels)


def _definitions_of(channels: Iterable[Channel]) -> Definitions:
    """Definitions by type; the bag's own before those that ROS 2 ships.

    Bags without definitions were recorded by ROS 2 Humble or older, so its types come first. ROS 1
    bags always carry theirs; only time and duration are built in.
    """
    own: dict[str, Any] = {}
    has_ros2 = False
    for channel in channels:
        has_ros2 = has_ros2 or channel.encoding == 'cdr'
        for name, definition in _parsed(channel).items():
            own.setdefault(name, definition)
    shipped = (Stores.ROS2_HUMBLE, Stores.LATEST) if has_ros2 else (Stores.EMPTY,)
    return ChainMap(own, *(get_typestore(store).fielddefs for store in shipped))


def _parsed(channel: Channel) -> dict[str, Any]:
    """Types that one channel's schema defines; none when it is broken."""
    if not _TYPE_NAME.fullmatch(channel.msgtype):
        return {}
    try:
        text = channel.schema.decode()
        types: dict[str, Any] = {}
        if channel.schema_encoding in ('ros2msg', 'ros1msg'):
            types = dict(get_types_from_msg(text, channel.msgtype)) if text.strip() else {}
        elif channel.schema_encoding in ('ros2idl', 'omgidl'):
            for part in _idl_parts(text):
                types.update(get_types_from_idl(part))
    except Exception:  # a hostile text breaks the parser in many ways
        return {}
    return {name: entry for name, entry in types.items() if _is_sane(name, entry)}


def _idl_parts(text: str) -> Iterator[str]:
    if not text.startswith(f'{_IDL_RULE}IDL: '):
        yield text
        return
    for part in text.split(_IDL_RULE)[1:]:
        yield part.partition('\n')[2]


def _is_sane(name: str, entry: Any) -> bool:
    """Whether every name is a plain identifier, so that it can stand in generated code."""
    constants, fields = entry
    return (
        bool(_TYPE_NAME.fullmatch(name))
        and all(_IDENTIFIER.fullmatch(c[0]) and _BASE_NAME.fullmatch(c[1]) for c in constants)
        and all(_IDENTIFIER.fullmatch(f[0]) and _is_sane_kind(f[1]) for f in fields)
    )


def _is_sane_kind(kind: Any) -> bool:
    node, detail = kind
    if node == Nodetype.BASE:
        return bool(_BASE_NAME.fullmatch(detail[0])) and isinstance(detail[1], int)
    if node == Nodetype.NAME:
        return bool(_TYPE_NAME.fullmatch(detail))
    return isinstance(detail[1], int) and _is_sane_kind(detail[0])


def _close(name: str, known: Definitions, closure: dict[str, Any], depth: int = 0) -> bool:
    """Collect a type and all that it refers to; False when one is unknown or contains itself."""
    if name in closure:
        return True
    if name not in known or depth > _MAX_DEPTH:
        return False
    parts = (_part(kind) for _, kind in known[name][1])
    if not all(_close(part, known, closure, depth + 1) for part in parts if part):
        return False
    closure[name] = known[name]
    return True


def _is_blob(kind: Any) -> bool:
    """A field of bytes: a sequence of any length, or more of them than a UUID or hash has."""
    node, detail = kind
    if node not in (Nodetype.ARRAY, Nodetype.SEQUENCE) or detail[0][0] != Nodetype.BASE:
        return False
    is_long = node == Nodetype.SEQUENCE or detail[1] > _LONGEST_HASH
    return is_long and detail[0][1][0] in ('uint8', 'byte', 'octet', 'char')


def _part(kind: Any) -> str | None:
    """The message type that a field holds, if it holds one."""
    node, detail = kind
    if node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return _part(detail[0])
    return detail if node == Nodetype.NAME else None
