"""A body's skeleton found from a puppet: joints, names, smooth skin weights, captured motion,
contacts with the ground. numpy only, so that Blender runs it."""
