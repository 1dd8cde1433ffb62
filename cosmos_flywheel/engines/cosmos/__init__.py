# SPDX-License-Identifier: Apache-2.0
"""Cosmos 3 as an embodied world model: text once, then only the generation tower, step by step.

Every module here but `dims` imports torch, so nothing is imported from this folder by the engines'
own door; whoever wants the engine imports the module.
"""
