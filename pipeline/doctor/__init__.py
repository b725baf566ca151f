"""The doctor: checks a set-up and names the remedy of each fault; it changes nothing."""
