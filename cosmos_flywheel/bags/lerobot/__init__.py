# SPDX-License-Identifier: Apache-2.0
"""LeRobot data sets, versions 2.0, 2.1 and 3.0, as they lie on disk."""
