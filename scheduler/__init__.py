"""The process that does what is due: it feeds batches, fires schedules and sends callbacks."""
