"""This machine: containers or plain processes, kept by an agent that outlives whoever asked."""
