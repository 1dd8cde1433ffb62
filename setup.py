# SPDX-License-Identifier: Apache-2.0
"""Installs the package and the files that ROS 2 expects beside it; metadata: setup.cfg."""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

# Isolated builds run this file without its folder on the module path.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from build_messages import BuildMessages

PACKAGE = 'cosmos_flywheel'


def share_tree(folder):
    """Every file below folder, for share/cosmos_flywheel/folder."""
    return [
        (f'share/{PACKAGE}/{parent}', [os.path.join(parent, name) for name in sorted(names)])
        for parent, _, names in sorted(os.walk(folder))
        if names and '__pycache__' not in parent
    ]


setup(
    # Here and not in setup.cfg: colcon cannot read the object that setuptools makes of it there.
    python_requires='>=3.10',
    # rosidl fixes the module's name; BuildMessages makes it and the libraries that it loads.
    ext_modules=[Extension(f'{PACKAGE}.{PACKAGE}_s__rosidl_typesupport_c', sources=[])],
    cmdclass={'build_ext': BuildMessages},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        *share_tree('config'),
        *share_tree('launch'),
        *share_tree('msg'),
    ],
)
