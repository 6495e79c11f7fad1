"""One adapter a rival: the same texts, prompts and threads for all, each used as its own documentation shows."""
