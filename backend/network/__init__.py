"""Who is connected: keys, sockets, and what each connection holds."""
