# SPDX-License-Identifier: Apache-2.0
"""The causal streaming checkpoint of Cosmos 3: a few steps a chunk, and the past in a window.

The layout is that of Cosmos3-Nano-Sim-Bimanual as two published servers read it: vllm-omni
(881fca7, `models/cosmos3_nano_sim_bimanual/`) and TensorRT-LLM (`visual_gen/models/cosmos3/`,
pipeline of the same name). Neither was run here, nor any real weight, so nothing was compared with
them. Where they differ, or say nothing, the file that decides says so, and marks it [unverified].
"""
