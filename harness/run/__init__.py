"""One run: prepare its cells, start their guests, record what happens."""
