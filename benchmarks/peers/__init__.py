"""Other queues, executing a Python no-op as they come: what a jailed run is measured beside."""
