"""Jobs of the service: the table, a folder and a process for each, and who runs them where."""
