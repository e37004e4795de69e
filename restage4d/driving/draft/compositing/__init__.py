"""Pictures of the draft driver: the clean plate, the matte, the drawn mesh and its shadow."""
