"""Public yardsticks in their own layouts: DyCheck's iPhone clips and TAPVid-3D."""
