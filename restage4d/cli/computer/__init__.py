"""Commands about this computer: what it has and lacks, and weights for it."""
