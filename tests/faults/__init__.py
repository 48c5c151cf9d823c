"""Killing the parts of the service at every boundary of a run: `make faults`."""
