"""Stages that compute nothing, for benchmarks/scale.py: payloads of real size, and all of the engine."""
