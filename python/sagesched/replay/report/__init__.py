"""The replay's report: one HTML file that needs nothing else, for people."""
