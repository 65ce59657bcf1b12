"""Engines: whatever continues a prompt. One file each; ``base`` is the protocol that the loop knows."""
