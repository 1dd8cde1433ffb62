# SPDX-License-Identifier: Apache-2.0
"""Reasons to capture that a person named, in a trigger file."""
