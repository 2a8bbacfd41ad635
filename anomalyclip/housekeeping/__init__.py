"""What the storage root and the scratch folder hold, who refers to it, and what nobody needs any more."""
