# SPDX-License-Identifier: Apache-2.0
"""What live nodes do beside ROS: messages to ticks, predictions to moments, scores to pictures."""
