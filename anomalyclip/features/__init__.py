"""From video files to stored features: the backbone, preprocessing, the encoder, and where features live."""
