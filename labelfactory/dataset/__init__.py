"""The data set on disk: import, prepared images, true masks, corrections, and the small tables they share."""
