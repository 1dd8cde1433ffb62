# SPDX-License-Identifier: Apache-2.0
"""Serialized messages as they come over the wire → the same objects that bags give.

A bag carries the definitions of its types. On the wire they are looked for among those that
rosbags ships and in the `share` folders of the ROS packages that are installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.records import Channel, RawMessage, offers_latched
from cosmos_flywheel.bags.typestore import MessageTypes

_RULE = '=' * 80
_OWN = Path(__file__).resolve().parents[2]
"""A source tree, whose messages are under msg/; after an installation they are in a share."""


class WireTypes:
    """The message classes of one graph, made when a type first comes.

    Args:
        prefixes: installation prefixes whose `share/PACKAGE/msg` hold definitions; by default
            AMENT_PREFIX_PATH and the running interpreter's own prefix.

    """

    def __init__(self, prefixes: Sequence[Path] | None = None) -> None:
        self._prefixes = _default_prefixes() if prefixes is None else list(prefixes)
        self._types: dict[str, MessageTypes] = {}

    def channel(self, topic: str, msgtype: str, qos: str = '') -> Channel:
        """How a clip stores the topic: with its definition, where one is found."""
        types = self._of(msgtype)
        text = types.ros2_text(msgtype) if types.readable(msgtype) else ''
        return Channel(
            topic,
            msgtype,
            schema_encoding='ros2msg' if text else '',
            schema=text.encode(),
            metadata=(('offered_qos_profiles', qos),) if qos else (),
            latched=offers_latched(topic, qos),
        )

    def readable(self, msgtype: str) -> bool:
        """Whether messages of the type can be deserialized."""
        return self._of(msgtype).readable(msgtype)

    def deserialize(self, topic: str, msgtype: str, received_ns: int, data: bytes) -> Any:
        """The message as bags give it; raises BagError naming topic and type when it cannot."""
        return self._of(msgtype).deserialize(RawMessage(topic, msgtype, received_ns, data))

    def _of(self, msgtype: str) -> MessageTypes:
        if msgtype not in self._types:
            text = '\n'.join(self._texts(msgtype))
            encoding = 'ros2msg' if text else ''
            self._types[msgtype] = MessageTypes(
                [Channel('', msgtype, schema_encoding=encoding, schema=text.encode())]
            )
        return self._types[msgtype]

    def _texts(self, msgtype: str) -> Iterator[str]:
        """The definition and those that it refers to, in the form in which bags carry them."""
        told: set[str] = set()
        waiting = [msgtype]
        while waiting:
            name = waiting.pop(0)
            path = self._path(name)
            if name in told or path is None:
                continue
            told.add(name)
            text = path.read_text('utf-8')
            yield text if name == msgtype else f'{_RULE}\nMSG: {_short(name)}\n{text}'
            waiting += _parts(text, name.partition('/')[0])

    def _path(self, msgtype: str) -> Path | None:
        package, _, name = _short(msgtype).partition('/')
        if not package.isidentifier() or not name.isidentifier():
            return None
        folders = [prefix / 'share' / package / 'msg' for prefix in self._prefixes]
        if package == __package__.partition('.')[0]:
            folders.append(_OWN / 'msg')
        found = (folder / f'{name}.msg' for folder in folders)
        return next((path for path in found if path.is_file()), None)


def _default_prefixes() -> list[Path]:
    named = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    return [*(Path(name) for name in named if name), Path(sys.prefix)]


def _short(msgtype: str) -> str:
    """`std_msgs/Header` for `std_msgs/msg/Header`."""
    return msgtype.replace('/msg/', '/', 1)


def _parts(text: str, package: str) -> Iterator[str]:
    """The types that a definition's fields are of."""
    for line in text.splitlines():
        words = line.partition('#')[0].split()
        if len(words) < 2:
            continue
        kind = words[0].partition('[')[0].partition('<')[0]
        if kind == 'Header':
            yield 'std_msgs/msg/Header'
        elif kind[:1].isupper():
            yield f'{package}/msg/{kind}'
        elif '/' in kind:
            owner, _, name = kind.rpartition('/')
            yield f'{owner.partition("/")[0]}/msg/{name}'
