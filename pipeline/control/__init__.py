"""Records of the control topic: alarms, requests, decisions and orders, and their history."""
