"""What other tools read: one file per format. Each has `write(selection, folder)`, which gives facts for provenance.json."""
