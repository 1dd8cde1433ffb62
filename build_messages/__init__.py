# SPDX-License-Identifier: Apache-2.0
"""Turns msg/*.msg into Python messages and C and C++ type support, with setuptools alone.

rosidl's own generators write the sources and the system's compiler makes the libraries: the steps
that `rosidl_generate_interfaces` takes in CMake, so that pip and colcon can build one package.
"""

from build_messages.command import BuildMessages

__all__ = ['BuildMessages']
