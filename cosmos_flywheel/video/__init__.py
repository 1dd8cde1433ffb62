# SPDX-License-Identifier: Apache-2.0
"""The one door to video encoding and decoding: pictures to the bytes of a film, and back."""
