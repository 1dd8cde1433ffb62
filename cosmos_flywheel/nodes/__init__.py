# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 nodes, thin: what they do lies in the rooms below. Only here is rclpy imported."""
