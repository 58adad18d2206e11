"""The pages of `labelfactory serve`: they read outputs and ledger, and change nothing."""
