# SPDX-License-Identifier: Apache-2.0
"""Bytes on disk to core types: recorded bags, and the pictures in them."""
