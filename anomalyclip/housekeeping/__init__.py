"""Housekeeping: what the storage root and the scratch folder hold, what uses it, and what is unused."""
