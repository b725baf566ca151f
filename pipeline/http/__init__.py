"""What every HTTP server of ours shares: sockets, problems, keys, times of requests, routes of operation."""
