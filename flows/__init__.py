"""The only code that knows DVC's API."""
