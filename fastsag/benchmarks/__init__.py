"""Speed and memory, measured by one timer."""
