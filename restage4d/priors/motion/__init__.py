"""What moves in the footage: optical flow, the background's motion, and its points."""
