"""The line under DVC: reproduce, status, cost, experiments and storage."""
