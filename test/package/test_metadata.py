# SPDX-License-Identifier: Apache-2.0
"""What pip, rosdep and the lock are told agrees."""

from __future__ import annotations

import configparser
import re
from xml.etree import ElementTree

import cosmos_flywheel


def read_setup_cfg(root):
    parser = configparser.ConfigParser()
    parser.read(root / 'setup.cfg')
    return parser


def names(lines):
    return {re.split(r'[<>=;\[ ]', line)[0].lower() for line in lines.split('\n') if line.strip()}


def test_package_xml_states_the_version_of_the_package(root):
    package = ElementTree.parse(root / 'package.xml').getroot()

    assert package.findtext('version') == cosmos_flywheel.__version__


def test_every_python_requirement_is_in_package_xml(root):
    requirements = names(read_setup_cfg(root)['options']['install_requires'])
    text = (root / 'package.xml').read_text()

    debian = {'pyyaml': 'python3-yaml', 'opencv-python-headless': 'python3-opencv'}
    assert [name for name in requirements if debian.get(name, name) not in text] == []


def test_ros_is_an_extra_and_never_a_requirement(root):
    cfg = read_setup_cfg(root)

    assert not [name for name in names(cfg['options']['install_requires']) if 'ros-' in name]
    assert 'ros-rclpy' in names(cfg['options.extras_require']['ros'])


def test_the_lock_pins_every_requirement_by_hash_and_names_no_registry(root):
    cfg = read_setup_cfg(root)
    text = (root / 'requirements.lock').read_text()
    pinned = set(re.findall(r'^([a-z0-9.-]+)==.*\\\n +--hash=sha256:', text, re.MULTILINE))

    wanted = names(cfg['options']['install_requires'])
    wanted |= names(cfg['options.extras_require']['ros'] + cfg['options.extras_require']['dev'])
    assert wanted <= pinned
    assert '://' not in text
    assert 'torch' not in pinned
