"""The scheme of 2016 and 2017: planning along paths."""
