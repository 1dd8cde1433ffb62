# SPDX-License-Identifier: Apache-2.0
"""Alarms and triggers → episodes with evidence, from bags and, later, beside the robot."""
