# SPDX-License-Identifier: Apache-2.0
"""Episodes on their way from the robot to the machine that generates from them."""
