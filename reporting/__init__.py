"""The report: one HTML page about a run of the line, which opens offline. It knows no stage and opens no data."""
