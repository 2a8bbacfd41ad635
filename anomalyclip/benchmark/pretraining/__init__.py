"""Pre-training of the embedded CLIP on drawn pictures with captions."""
