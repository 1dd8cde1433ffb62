# SPDX-License-Identifier: Apache-2.0
"""The pure heart: values, clocks, channels, scores; numpy and the standard library only."""
