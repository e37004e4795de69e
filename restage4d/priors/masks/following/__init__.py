"""The subject in all other frames, from its mask in one."""
