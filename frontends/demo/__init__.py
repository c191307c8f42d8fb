"""`walytis demo`: three peers in three processes share a chain over real libp2p; a fourth judges what they hold."""
