"""Processes that share work, one thread each."""
