"""What tests share: a real server as a process, a client that checks every byte of a stream, gates for models."""
