# SPDX-License-Identifier: Apache-2.0
"""C++ type support is found by name, the way `ros2 bag record` and foxglove_bridge load it."""

from __future__ import annotations

import json
import sys

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(600)]

RESOLVE = """
import ctypes, json, sys

class TypeSupport(ctypes.Structure):  # rosidl_message_type_support_t, as far as it is needed
    pass

RESOLVER = ctypes.CFUNCTYPE(
    ctypes.POINTER(TypeSupport), ctypes.POINTER(TypeSupport), ctypes.c_char_p
)
TypeSupport._fields_ = [
    ('identifier', ctypes.c_char_p), ('data', ctypes.c_void_p), ('resolve', RESOLVER)
]
library = ctypes.CDLL('libcosmos_flywheel__rosidl_typesupport_cpp.so')
found = {}
for name in sys.argv[1:]:
    prefix = 'rosidl_typesupport_cpp__get_message_type_support_handle__cosmos_flywheel__msg__'
    get_handle = library[prefix + name]
    get_handle.restype = ctypes.POINTER(TypeSupport)
    handle = get_handle()
    found[name] = [
        handle.contents.resolve(handle, wanted).contents.identifier.decode()
        for wanted in (b'rosidl_typesupport_fastrtps_cpp', b'rosidl_typesupport_introspection_cpp')
    ]
origin = [line.split()[-1] for line in open('/proc/self/maps') if 'cosmos_flywheel__' in line]
print(json.dumps({'found': found, 'origin': sorted(set(origin))}))
"""
TYPESUPPORTS = ['rosidl_typesupport_fastrtps_cpp', 'rosidl_typesupport_introspection_cpp']


@pytest.fixture(scope='module')
def messages(root):
    return sorted(path.stem for path in (root / 'msg').glob('*.msg'))


def test_overlay_type_support_resolves_by_name(colcon_overlay, environment, messages, run):
    shell = ['bash', '-c', f'source "{colcon_overlay}/setup.bash" && exec "$0" "$@"']
    env = environment(AMENT_PREFIX_PATH=sys.prefix)

    seen = json.loads(run([*shell, sys.executable, '-c', RESOLVE, *messages], env=env))

    assert seen['found'] == dict.fromkeys(messages, TYPESUPPORTS)
    lib = colcon_overlay / 'cosmos_flywheel/lib'
    assert all(path.startswith(f'{lib}/libcosmos_flywheel') for path in seen['origin'])


def test_pip_installed_type_support_resolves_by_name(pip_prefix, messages, run):
    seen = json.loads(run([pip_prefix / 'bin/python', '-c', RESOLVE, *messages]))

    assert seen['found'] == dict.fromkeys(messages, TYPESUPPORTS)
    lib = pip_prefix / 'lib'
    assert all(path.startswith(f'{lib}/libcosmos_flywheel') for path in seen['origin'])
