# SPDX-License-Identifier: Apache-2.0
"""Failures to orders, and orders to candidate episodes."""
