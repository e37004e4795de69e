"""What each kind of action does to the actor's curves."""
