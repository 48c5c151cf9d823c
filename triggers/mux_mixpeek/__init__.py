"""The connector from Mux to Mixpeek: connections, syncs, and the scripts that do the work."""
