# SPDX-License-Identifier: Apache-2.0
"""Data sets and films of others into bags that a harvest reads, with where they come from."""
