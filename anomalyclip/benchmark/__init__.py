"""The embedded benchmark and the small CLIP that goes with it: drawing, footage, pictures, pre-training."""
