"""millstream's library: everything that is not a process."""
