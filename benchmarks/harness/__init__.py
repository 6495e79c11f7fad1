"""The comparison of fastplr with its rivals: corpus, models, processes, measurement and the document."""
