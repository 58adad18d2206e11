"""The ground floor: what several stages share. Imports nothing from the floors above."""

__version__ = "0.1.0"
