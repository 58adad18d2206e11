"""Training of networks: examples, augmentation, batches, the loop, checkpoints."""
