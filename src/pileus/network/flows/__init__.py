"""What the network service does asynchronously."""
