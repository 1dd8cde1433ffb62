# SPDX-License-Identifier: Apache-2.0
"""A data flywheel for robots: watch through a world model, keep failures, make them pay."""

__version__ = '0.1.0'
