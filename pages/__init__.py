"""The pages of `labelfactory serve`: they read what the line and its ledger left, and change nothing."""
