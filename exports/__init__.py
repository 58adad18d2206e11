"""Exports for other tools: one file per format. Each has `write(selection, folder)`, which returns facts for provenance.json."""
