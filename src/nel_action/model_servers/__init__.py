"""Model servers: the command lines that start them, and how to recognize that they are ready."""
