"""What starts runs without a client asking for each: saved scripts, schedules, hooks, callbacks."""
