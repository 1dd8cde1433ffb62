# SPDX-License-Identifier: Apache-2.0
"""Messages as plain values are written as a bag that reads back the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cosmos_flywheel.bags.record import write_bag
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.core.errors import BagError, StoreError

START_NS = 1_700_000_000 * 10**9


@dataclass
class Message:
    topic: str = '/say'
    msgtype: str = 'std_msgs/msg/String'
    log_ns: int = START_NS
    content: dict[str, Any] = field(default_factory=lambda: {'data': 'hello'})


def joints(number: int) -> Message:
    content = {
        'header': {'stamp': {'sec': number, 'nanosec': 5}, 'frame_id': 'base'},
        'name': ['hip', 'knee'],
        'position': np.array([0.5, number]),
        'velocity': np.zeros(0),
        'effort': np.zeros(0),
    }
    return Message('/joints', 'sensor_msgs/msg/JointState', START_NS + number, content)


def transforms() -> Message:
    turn = {'x': 0.0, 'y': 0.0, 'z': 0.0, 'w': 1.0}
    moved = {
        'header': {'stamp': {'sec': 1, 'nanosec': 2}, 'frame_id': 'odom'},
        'child_frame_id': 'base',
        'transform': {'translation': {'x': 1.0, 'y': 2.0, 'z': 3.0}, 'rotation': turn},
    }
    return Message('/tf', 'tf2_msgs/msg/TFMessage', START_NS + 9, {'transforms': [moved, moved]})


def test_a_bag_reads_back_as_it_was_written(tmp_path):
    write_bag(tmp_path / 'new' / 'bag', [Message(), joints(1), joints(2), transforms()])
    with open_bag(tmp_path / 'new' / 'bag') as bag:
        assert bag.damage is None
        assert {name: topic.count for name, topic in bag.topics.items()} == {
            '/say': 1,
            '/joints': 2,
            '/tf': 1,
        }
        said, first, _, moved = (bag.deserialize(message) for message in bag.messages())
    assert said.data == 'hello'
    assert (first.header.stamp.sec, first.header.frame_id) == (1, 'base')
    assert first.name == ['hip', 'knee']
    assert first.position.tolist() == [0.5, 1]
    assert [t.transform.translation.y for t in moved.transforms] == [2.0, 2.0]


def test_equal_messages_give_equal_files(tmp_path):
    for name in ('a', 'b'):
        write_bag(tmp_path / name / 'bag', [Message(), joints(1)])
    for file in ('bag.mcap', 'metadata.yaml'):
        texts = [(tmp_path / name / 'bag' / file).read_bytes() for name in ('a', 'b')]
        assert texts[0] == texts[1]


def test_a_bag_is_never_overwritten(tmp_path):
    (tmp_path / 'bag').mkdir()
    with pytest.raises(StoreError, match='bag: exists; a bag is never overwritten'):
        write_bag(tmp_path / 'bag', [Message()])


@pytest.mark.parametrize(
    ('message', 'reason'),
    [
        (Message(msgtype='my/msg/Own'), "'/say' at 1700000000000000000 ns, a 'my/msg/Own'"),
        (Message(content={}), "content does not fit .KeyError.'data'"),
        (Message(content={'data': 5}), 'content does not fit'),
        (Message(msgtype='std_msgs/msg/Int8', content={'data': 1000}), 'content does not fit'),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_left(tmp_path, message, reason):
    with pytest.raises(BagError, match=reason):
        write_bag(tmp_path / 'bag', [Message(), message])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(StoreError, match=r'bag: cannot be written \(.*\); free some space'):
        write_bag(tmp_path / 'file' / 'bag', [Message()])
