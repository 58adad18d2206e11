"""Stages that compute nothing, for benchmarks/scale.py: the whole engine with payloads of real size."""
