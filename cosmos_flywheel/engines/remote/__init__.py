# SPDX-License-Identifier: Apache-2.0
"""Cosmos on another machine: forward dynamics through the video API of a vLLM-Omni server."""
