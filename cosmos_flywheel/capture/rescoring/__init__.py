# SPDX-License-Identifier: Apache-2.0
"""A second, dearer model looks again at windows of a harvest, within a budget."""
