"""The paper's experiments, and the report of them."""
