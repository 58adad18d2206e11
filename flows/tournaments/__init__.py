"""A tournament of methods: its contenders, the stages that they share, its rounds and its result."""
