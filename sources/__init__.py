"""Where photographs come from: one file per kind of source, each writes one import manifest."""
