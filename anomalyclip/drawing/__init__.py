"""What the embedded benchmark and the pictures of pre-training are drawn with: shapes, people, vehicles, fire."""
