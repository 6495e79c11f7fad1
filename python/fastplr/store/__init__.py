"""Behind :mod:`fastplr.model_store`: the catalogue, fetching, file identity, and the Hugging Face hub."""
