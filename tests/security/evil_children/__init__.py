"""Hostile peers in place of the child: each breaks the protocol in its own way."""
