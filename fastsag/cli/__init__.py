"""The `fastsag` command: one thin file for each verb."""
