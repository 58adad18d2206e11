"""The level of some masks from few audited images: pure statistics on arrays."""
