# SPDX-License-Identifier: Apache-2.0
"""Messages off the wire become what bags give, also of types that only an installation knows."""

from __future__ import annotations

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.core.errors import BagError

WHEEL = 'float64 grip  # [N]\nTread tread\nstd_msgs/Header header\n'
TREAD = 'uint8[] depth\n'


@pytest.fixture
def prefix(tmp_path):
    folder = tmp_path / 'share' / 'rover' / 'msg'
    folder.mkdir(parents=True)
    (folder / 'Wheel.msg').write_text(WHEEL)
    (folder / 'Tread.msg').write_text(TREAD)
    return tmp_path


def cdr(msgtype, message, *texts):
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in texts:
        store.register(get_types_from_msg(text, name))
    return bytes(store.serialize_cdr(message(store.types), msgtype))


def joint_state(types):
    return types['sensor_msgs/msg/JointState'](
        header=types['std_msgs/msg/Header'](types['builtin_interfaces/msg/Time'](7, 5), 'base'),
        name=['a'],
        position=np.array([0.25]),
        velocity=np.zeros(0),
        effort=np.zeros(0),
    )


def test_a_common_type_needs_no_definition():
    data = cdr('sensor_msgs/msg/JointState', joint_state)
    message = WireTypes([]).deserialize('/joints', 'sensor_msgs/msg/JointState', 1, data)
    assert message.name == ['a']
    assert message.position.tolist() == [0.25]
    assert message.header.stamp.sec == 7


def test_bytes_after_a_message_are_let_be():
    data = cdr('sensor_msgs/msg/JointState', joint_state) + b'\xd0\x1c\xdf\xef' * 2
    message = WireTypes([]).deserialize('/joints', 'sensor_msgs/msg/JointState', 1, data)
    assert message.position.tolist() == [0.25]
    assert message.effort.size == 0


@pytest.mark.ros
def test_what_rclpy_serializes_is_read_also_with_empty_sequences():
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import JointState

    data = serialize_message(
        JointState(name=['a', 'b'], position=[0.25, 0.5], velocity=[1.0, 2.0])
    )
    message = WireTypes([]).deserialize('/joints', 'sensor_msgs/msg/JointState', 1, data)
    assert message.position.tolist() == [0.25, 0.5]
    assert message.velocity.tolist() == [1.0, 2.0]


def test_an_installed_type_is_found_with_the_types_it_holds(prefix):
    def wheel(types):
        return types['rover/msg/Wheel'](
            grip=2.5,
            tread=types['rover/msg/Tread'](depth=np.array([3], np.uint8)),
            header=types['std_msgs/msg/Header'](types['builtin_interfaces/msg/Time'](1, 2), ''),
        )

    data = cdr('rover/msg/Wheel', wheel, ('rover/msg/Tread', TREAD), ('rover/msg/Wheel', WHEEL))
    types = WireTypes([prefix])
    message = types.deserialize('/wheel', 'rover/msg/Wheel', 1, data)
    assert (message.grip, message.tread.depth.tolist()) == (2.5, [3])
    channel = types.channel('/wheel', 'rover/msg/Wheel')
    assert channel.schema_encoding == 'ros2msg'
    assert b'MSG: rover/Tread' in channel.schema


def test_own_messages_are_found_in_a_source_tree():
    assert WireTypes([]).readable('cosmos_flywheel/msg/Prediction')


def test_an_unknown_type_is_named():
    types = WireTypes([])
    assert not types.readable('rover/msg/Wheel')
    assert types.channel('/wheel', 'rover/msg/Wheel').schema == b''
    with pytest.raises(BagError, match="'/wheel' at 1 ns: a 'rover/msg/Wheel'"):
        types.deserialize('/wheel', 'rover/msg/Wheel', 1, b'\0\1\0\0')


@pytest.mark.parametrize('name', ['../x/msg/Y', 'a/msg/../../b', 'a', ''])
def test_no_name_leads_out_of_the_share_folders(prefix, name):
    assert not WireTypes([prefix]).readable(name)


def test_cut_messages_are_errors():
    data = cdr('sensor_msgs/msg/JointState', joint_state)
    with pytest.raises(BagError, match='corrupt'):
        WireTypes([]).deserialize('/joints', 'sensor_msgs/msg/JointState', 1, data[:20])


def test_latched_topics_are_told_apart():
    types = WireTypes([])
    assert types.channel('/tf_static', 'tf2_msgs/msg/TFMessage').latched
    assert types.channel('/map', 'std_msgs/msg/String', '- durability: transient_local').latched
    assert not types.channel('/say', 'std_msgs/msg/String').latched
