"""The ground, the world frame, and thickness from a silhouette."""
