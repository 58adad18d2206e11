"""Importers: one file per kind of source. Each finds a batch of candidates; intake.py makes an import manifest of it."""
