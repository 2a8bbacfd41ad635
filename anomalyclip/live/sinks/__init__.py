"""Sinks: messages about events, the queues in which they wait, and where they go."""
