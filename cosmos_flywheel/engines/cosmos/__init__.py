# SPDX-License-Identifier: Apache-2.0
"""Cosmos 3 as an embodied world model: text once, then only the generation tower, step by step.

The engines' own door imports `model` and `session` alone, which need no torch until the first
prediction; most other modules here import it at once.
"""
