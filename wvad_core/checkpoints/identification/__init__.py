"""Which method a file holds, in which configuration, under which names."""
